// Package price reads the operator's price table and finds the price of a place.
//
// It does not meter and keeps nothing: ci.Charge does the sum, the store keeps it.
//
// Invariant: the same place always has the same price in one table; the first
// line that fits counts.
package price
