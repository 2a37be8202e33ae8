package main

import "github.com/spf13/cobra"

func newDoctor() *cobra.Command { return &cobra.Command{Use: "doctor", Run: func(*cobra.Command, []string) {}} }
func newEnv() *cobra.Command    { return &cobra.Command{Use: "env", Run: func(*cobra.Command, []string) {}} }
func newSecret() *cobra.Command { return &cobra.Command{Use: "secret", Run: func(*cobra.Command, []string) {}} }
