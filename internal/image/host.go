package image

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path"
	"strings"
)

// Host is what the machine that builds has to say about the way to the network:
// behind a proxy that looks into TLS nothing can be fetched without.
type Host struct {
	Bundle  []byte            // all certificates it trusts, PEM
	Local   map[string][]byte // those that its operator added: file name -> PEM
	Args    map[string]string // http_proxy and the like, as build arguments (engines keep those out of the image)
	Mirror  string            // of Debian; "" = deb.debian.org
	Updates string            // of Debian's security updates
}

// ReadHost reads it from a machine's root ("/" as os.DirFS) and environment.
// What cannot be read is not there.
func ReadHost(root fs.FS, getenv func(string) string) Host {
	h := Host{Local: map[string][]byte{}, Args: map[string]string{}}
	bundles := []string{"etc/ssl/certs/ca-certificates.crt", "etc/pki/tls/certs/ca-bundle.crt", "etc/ssl/ca-bundle.pem", "etc/ssl/cert.pem"}
	if f := getenv("SSL_CERT_FILE"); f != "" {
		bundles = append([]string{strings.TrimPrefix(path.Clean(f), "/")}, bundles...)
	}
	for _, b := range bundles {
		if data, err := fs.ReadFile(root, b); err == nil {
			h.Bundle = data
			break
		}
	}
	for _, dir := range []string{"usr/local/share/ca-certificates", "etc/pki/ca-trust/source/anchors", "etc/ca-certificates/trust-source/anchors"} {
		h.readLocal(root, dir)
	}
	h.readApt(root)
	for _, name := range []string{"http_proxy", "https_proxy", "ftp_proxy", "no_proxy"} {
		for _, n := range []string{strings.ToUpper(name), name} {
			if v := getenv(n); v != "" {
				h.Args[name] = v
			}
		}
	}
	return h
}

// readLocal takes each certificate into a file of its own, as
// update-ca-certificates wants it.
func (h *Host) readLocal(root fs.FS, dir string) {
	_ = fs.WalkDir(root, dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		data, err := fs.ReadFile(root, name)
		if err != nil {
			return nil
		}
		for {
			block, rest := pem.Decode(data)
			if block == nil {
				return nil
			}
			data = rest
			if block.Type == "CERTIFICATE" {
				sum := sha256.Sum256(block.Bytes)
				block.Headers = nil
				h.Local["host-"+hex.EncodeToString(sum[:6])+".crt"] = pem.EncodeToMemory(block)
			}
		}
	})
}

// readApt takes proxies and the mirror from apt's configuration.
func (h *Host) readApt(root fs.FS) {
	conf := []string{"etc/apt/apt.conf"}
	if more, err := fs.Glob(root, "etc/apt/apt.conf.d/*"); err == nil {
		conf = append(conf, more...)
	}
	for _, name := range conf {
		data, err := fs.ReadFile(root, name)
		if err != nil {
			continue
		}
		maps.Copy(h.Args, aptProxies(data))
	}
	lists := []string{"etc/apt/sources.list"}
	for _, pattern := range []string{"etc/apt/sources.list.d/*.list", "etc/apt/sources.list.d/*.sources"} {
		if more, err := fs.Glob(root, pattern); err == nil {
			lists = append(lists, more...)
		}
	}
	for _, name := range lists {
		data, err := fs.ReadFile(root, name)
		if err != nil {
			continue
		}
		h.readSources(data)
	}
}

// aptProxies reads lines of the form Acquire::http::Proxy "http://proxy:3128";
func aptProxies(conf []byte) map[string]string {
	out := map[string]string{}
	for sc := bufio.NewScanner(bytes.NewReader(conf)); sc.Scan(); {
		fields := strings.Fields(strings.TrimSuffix(strings.TrimSpace(sc.Text()), ";"))
		if len(fields) != 2 {
			continue
		}
		value := strings.Trim(fields[1], `"`)
		if value == "DIRECT" {
			continue
		}
		switch strings.ToLower(fields[0]) {
		case "acquire::http::proxy":
			out["http_proxy"] = value
		case "acquire::https::proxy":
			out["https_proxy"] = value
		}
	}
	return out
}

// readSources finds the first mirror of Debian and of its security updates, in
// either of apt's two formats.
func (h *Host) readSources(data []byte) {
	for word := range strings.FieldsSeq(string(data)) {
		u, err := url.Parse(word)
		if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
			continue
		}
		switch p := strings.TrimSuffix(u.Path, "/"); {
		case strings.HasSuffix(p, "/debian-security") && h.Updates == "":
			h.Updates = strings.TrimSuffix(word, "/")
		case strings.HasSuffix(p, "/debian") && h.Mirror == "":
			h.Mirror = strings.TrimSuffix(word, "/")
		}
	}
}

// ThisHost is the machine that this runs on.
func ThisHost() Host { return ReadHost(os.DirFS("/"), os.Getenv) }
