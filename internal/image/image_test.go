package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/sluice-ci/sluice/environments"
	"github.com/sluice-ci/sluice/internal/ci"
)

func TestResolve(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]struct {
		ref, note string // "" = no note
	}{
		"aws/codebuild/standard:7.0":                                           {Standard, "stands in for it"},
		"aws/codebuild/standard:1.0":                                           {Standard, "stands in for it"},
		"aws/codebuild/amazonlinux2-x86_64-standard:5.0":                       {Standard, "stands in for it"},
		"aws/codebuild/amazonlinux-x86_64-standard:6.0":                        {Standard, "stands in for it"},
		"aws/codebuild/amazonlinux-aarch64-standard:3.0-25.03.03":              {Standard, "stands in for it"},
		"aws/codebuild/amazonlinux-x86_64-lambda-standard:python3.12":          {Standard, "stands in for it"},
		"public.ecr.aws/codebuild/amazonlinux-x86_64-lambda-standard:nodejs20": {Standard, "stands in for it"},
		"public.ecr.aws/codebuild/amazonlinux2-x86_64-standard:corretto11":     {Standard, "stands in for it"},
		"docker.io/aws/codebuild/standard:5.0":                                 {Standard, "stands in for it"},
		"aws/codebuild/ubuntu-base:14.04":                                      {Standard, "stands in for it"},
		"aws/codebuild/windows-base:2019-1.0":                                  {Standard, "not a Linux image"},
		"aws/codebuild/macos-arm-base:14":                                      {Standard, "not a Linux image"},
		"sluice/minimal":                                                       {"sluice/minimal", ""},
		"golang:1.26":                                                          {"golang:1.26", ""},
		"public.ecr.aws/docker/library/node:20":                                {"public.ecr.aws/docker/library/node:20", ""},
		"registry.example.org/aws/codebuild/standard:7.0":                      {"registry.example.org/aws/codebuild/standard:7.0", ""},
		"123456789012.dkr.ecr.us-east-1.amazonaws.com/mine@sha256:" + "00":     {"123456789012.dkr.ecr.us-east-1.amazonaws.com/mine@sha256:00", ""},
		"": {"", ""},
	} {
		ref, note := Resolve(name)
		if ref != want.ref || (note == "") != (want.note == "") || !strings.Contains(note, want.note) {
			t.Errorf("Resolve(%q) = %q, %q; want %q, %q", name, ref, note, want.ref, want.note)
		}
		if Curated(name) != (want.note != "") {
			t.Errorf("Curated(%q) = %v", name, Curated(name))
		}
	}
}

func TestSize(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		compute, env string
		cpus         float64
		memory       int64 // GiB
		ok           bool
	}{
		{"BUILD_GENERAL1_SMALL", "LINUX_CONTAINER", 2, 4, true},
		{"BUILD_GENERAL1_MEDIUM", "", 4, 8, true},
		{"BUILD_GENERAL1_LARGE", "ARM_CONTAINER", 8, 16, true},
		{"BUILD_GENERAL1_XLARGE", "LINUX_CONTAINER", 36, 72, true},
		{"BUILD_GENERAL1_XLARGE", "ARM_CONTAINER", 32, 64, true},
		{"BUILD_GENERAL1_XLARGE", "ARM_EC2", 0, 0, false},
		{"BUILD_GENERAL1_2XLARGE", "LINUX_CONTAINER", 72, 144, true},
		{"BUILD_GENERAL1_2XLARGE", "arm_container", 48, 96, true},
		{"BUILD_GENERAL1_SMALL", "LINUX_GPU_CONTAINER", 4, 16, true},
		{"BUILD_GENERAL1_LARGE", "LINUX_GPU_CONTAINER", 32, 255, true},
		{"BUILD_GENERAL1_SMALL", "WINDOWS_SERVER_2019_CONTAINER", 0, 0, false},
		{"BUILD_GENERAL1_MEDIUM", "WINDOWS_SERVER_2019_CONTAINER", 4, 8, true},
		{"BUILD_GENERAL1_XLARGE", "WINDOWS_SERVER_2022_CONTAINER", 36, 72, true},
		{"BUILD_LAMBDA_1GB", "LINUX_LAMBDA_CONTAINER", 0.58, 1, true},
		{"BUILD_LAMBDA_10GB", "ARM_LAMBDA_CONTAINER", 5.79, 10, true},
		{"BUILD_LAMBDA_3GB", "LINUX_LAMBDA_CONTAINER", 0, 0, false},
		{"build_general1_small", "linux_container", 2, 4, true},
		{"general1.small", "", 2, 4, true},
		{"arm1.2xlarge", "", 48, 96, true},
		{"gpu1.small", "", 4, 16, true},
		{"small", "", 2, 4, true},
		{"x-large", "LINUX_CONTAINER", 36, 72, true},
		{"reserved.x86-64.4cpu.8gib", "LINUX_CONTAINER", 4, 8, true},
		{"reserved.arm.96cpu.192gib.nvme", "", 96, 192, true},
		{"reserved.x86-64.4cpu", "", 0, 0, false},
		{"BUILD_GENERAL1_HUGE", "LINUX_CONTAINER", 0, 0, false},
		{"", "LINUX_CONTAINER", 0, 0, false},
	} {
		cpus, memory, ok := Size(c.compute, c.env)
		if cpus != c.cpus || memory != c.memory<<30 || ok != c.ok {
			t.Errorf("Size(%q, %q) = %v, %v, %v; want %v, %v GiB, %v", c.compute, c.env, cpus, memory, ok, c.cpus, c.memory, c.ok)
		}
	}
}

func TestEnvironments(t *testing.T) {
	t.Parallel()
	all, err := Environments(environments.Files)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range all {
		names = append(names, e.Name)
		if e.About == "" || len(e.Packages) == 0 || !bytes.Contains(e.Runtimes, []byte("version: 0.1")) {
			t.Errorf("%s: about %q, %d packages", e.Name, e.About, len(e.Packages))
		}
	}
	if strings.Join(names, " ") != Minimal+" "+Standard {
		t.Errorf("environments %v", names)
	}
	for _, name := range []string{"standard", Standard} {
		if e, err := Find(environments.Files, name); err != nil || e.Name != Standard {
			t.Errorf("Find(%q): %q, %v", name, e.Name, err)
		}
	}
	if _, err := Find(environments.Files, "huge"); !errors.Is(err, ci.ErrNotFound) || !strings.Contains(err.Error(), Minimal) {
		t.Errorf("Find(huge): %v", err)
	}
	if all[0].Definition() == all[1].Definition() {
		t.Error("two environments have one definition")
	}
	if _, err := Environments(fstest.MapFS{"debian/install.sh": {}, "mine/Dockerfile": {Data: []byte("FROM x")}}); !errors.Is(err, ci.ErrInvalid) || !strings.Contains(err.Error(), "about.txt") {
		t.Errorf("half an environment: %v", err)
	}
}

const pemA = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n"
const pemB = "-----BEGIN CERTIFICATE-----\nREVG\n-----END CERTIFICATE-----\n"

func TestHost(t *testing.T) {
	t.Parallel()
	root := fstest.MapFS{
		"etc/ssl/certs/ca-certificates.crt":           {Data: []byte("bundle")},
		"opt/other.pem":                               {Data: []byte("other")},
		"usr/local/share/ca-certificates/two.crt":     {Data: []byte("# two of them\n" + pemA + pemB)},
		"usr/local/share/ca-certificates/sub/dup.crt": {Data: []byte(pemA)},
		"usr/local/share/ca-certificates/readme.txt":  {Data: []byte("nothing")},
		"etc/apt/apt.conf.d/proxy":                    {Data: []byte("Acquire::http::Proxy \"http://proxy:3128\";\nAcquire::https::Proxy \"DIRECT\";\nAPT::X \"y\";\n")},
		"etc/apt/sources.list.d/debian.sources":       {Data: []byte("Types: deb\nURIs: https://mirror.example/debian/\nSuites: bookworm\n\nTypes: deb\nURIs: http://mirror.example/debian-security\n")},
		"etc/apt/sources.list.d/a-vendor.list":        {Data: []byte("deb [signed-by=/x] https://user:secret@vendor.example/debian stable main\n")},
	}
	vars := map[string]string{"HTTPS_PROXY": "http://up:1", "https_proxy": "http://low:1", "NO_PROXY": "localhost"}
	h := ReadHost(root, func(k string) string { return vars[k] })
	if string(h.Bundle) != "bundle" || len(h.Local) != 2 {
		t.Errorf("bundle %q, %d local certificates, want 2", h.Bundle, len(h.Local))
	}
	if got := fmt.Sprint(h.Args); got != "map[http_proxy:http://proxy:3128 https_proxy:http://low:1 no_proxy:localhost]" {
		t.Errorf("arguments %s", got)
	}
	if h.Mirror != "https://mirror.example/debian" || h.Updates != "http://mirror.example/debian-security" {
		t.Errorf("mirrors %q, %q", h.Mirror, h.Updates)
	}
	vars["SSL_CERT_FILE"] = "/opt/other.pem"
	if h := ReadHost(root, func(k string) string { return vars[k] }); string(h.Bundle) != "other" {
		t.Errorf("with SSL_CERT_FILE: %q", h.Bundle)
	}
	if h := ReadHost(fstest.MapFS{}, func(string) string { return "" }); len(h.Local)+len(h.Args)+len(h.Bundle) > 0 {
		t.Errorf("an empty machine has %+v", h)
	}
}

// TestContext: the same definition on the same machine gives the same bytes, so
// that the engine's cache works, and all of it is in.
func TestContext(t *testing.T) {
	t.Parallel()
	env, err := Find(environments.Files, Standard)
	if err != nil {
		t.Fatal(err)
	}
	host := Host{Bundle: []byte("b"), Local: map[string][]byte{"host-2.crt": []byte(pemB), "host-1.crt": []byte(pemA)}}
	var a, b bytes.Buffer
	if err := errors.Join(env.writeContext(&a, host), env.writeContext(&b, host)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("two contexts differ")
	}
	var names []string
	for r := tar.NewReader(&a); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
	want := "Dockerfile about.txt install.sh packages.txt runtimes.yml setup.sh host/local/ host/bundle.crt host/local/host-1.crt host/local/host-2.crt"
	if got := strings.Join(names, " "); got != want {
		t.Errorf("context has %s\nwant        %s", got, want)
	}
}

func FuzzHost(f *testing.F) {
	f.Add([]byte("deb http://a/debian x main"), []byte(`Acquire::http::Proxy "http://p";`), []byte(pemA))
	f.Fuzz(func(t *testing.T, sources, conf, cert []byte) {
		h := ReadHost(fstest.MapFS{
			"etc/apt/sources.list": {Data: sources}, "etc/apt/apt.conf": {Data: conf},
			"usr/local/share/ca-certificates/x.crt": {Data: cert},
		}, func(string) string { return "" })
		for name, data := range h.Local {
			if !fs.ValidPath(name) || !bytes.HasPrefix(data, []byte("-----BEGIN CERTIFICATE-----\n")) {
				t.Fatalf("%q: %q", name, data)
			}
		}
		if strings.ContainsAny(h.Mirror+h.Updates, " \n@") {
			t.Fatalf("mirrors %q %q", h.Mirror, h.Updates)
		}
	})
}
