package main

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/sluice-ci/sluice/internal/blob"
	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/engine"
	"github.com/sluice-ci/sluice/internal/notify"
	"github.com/sluice-ci/sluice/internal/price"
	"github.com/sluice-ci/sluice/internal/secret"
	"github.com/sluice-ci/sluice/internal/source"
	"github.com/sluice-ci/sluice/internal/trace"
)

// setting is one thing that `sluice serve` can be told: as a flag, as a variable
// of the environment, as a line of the configuration file. The first that says
// something counts, then the default.
type setting struct {
	name   string // the flag, and the key in the file
	env    string
	usage  string
	value  string // the default
	hint   string // what the default is, where it depends on the machine
	secret bool   // a password may be in it
}

// settings is the one table that flags, environment, file and their reference
// page come from.
func settings(lookup func(string) (string, bool)) []setting {
	return []setting{
		{name: "data", env: "SLUICE_DATA", value: dataFolder(lookup), hint: "/var/lib/sluice for root, else ~/.local/share/sluice", usage: "folder for everything that is kept"},
		{name: "listen", env: "SLUICE_LISTEN", value: "127.0.0.1:7700", usage: "address to answer on, HOST:PORT, or unix:PATH"},
		{name: "url", env: "SLUICE_PUBLIC_URL", hint: "http://LISTEN", usage: "address at which others reach this server"},
		{name: "tls-cert", env: "SLUICE_TLS_CERT", usage: "file with the certificate chain; with tls-key the server speaks HTTPS only"},
		{name: "tls-key", env: "SLUICE_TLS_KEY", usage: "file with the certificate's key"},
		{name: "acme", env: "SLUICE_ACME", usage: "names of this server, with commas between: get certificates for them by ACME and speak HTTPS only; this accepts the terms of who issues them"},
		{name: "acme-directory", env: "SLUICE_ACME_DIRECTORY", value: "https://acme-v02.api.letsencrypt.org/directory", usage: "address of who issues certificates"},
		{name: "acme-email", env: "SLUICE_ACME_EMAIL", usage: "mail address that the issuer may warn"},
		{name: "redirect", env: "SLUICE_REDIRECT", usage: "address, such as :80, on which plain HTTP is answered with the way to HTTPS"},
		{name: "drain", env: "SLUICE_DRAIN", value: "0s", usage: "how long jobs that run may take to end when the server is asked to stop; 0s = they go on without it"},
		{name: "database", env: "SLUICE_DATABASE", hint: "DATA/sluice.db", usage: "postgres://USER:PASSWORD@HOST/NAME, or a path", secret: true},
		{name: "blobs", env: "SLUICE_BLOBS", hint: "DATA/blobs", usage: "where artifacts are kept, and with other servers shared: a folder, or s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION"},
		{name: "master-key", env: "SLUICE_MASTER_KEY", hint: "file:DATA/master.key, made at the first start", usage: "where the key that seals secrets is: file:PATH, env:VARIABLE or command:PROGRAM ARGUMENT..."},
		{name: "vault", env: "VAULT_ADDR", usage: "address of a HashiCorp Vault whose secrets projects may be granted, such as https://vault.example.com:8200"},
		{name: "vault-namespace", env: "VAULT_NAMESPACE", usage: "namespace in that Vault"},
		{name: "vault-ca", env: "VAULT_CACERT", usage: "file with the certificates to trust there"},
		{name: "vault-cert", env: "VAULT_CLIENT_CERT", usage: "file with a certificate to show there"},
		{name: "vault-key", env: "VAULT_CLIENT_KEY", usage: "file with that certificate's key"},
		{name: "vault-token-file", env: "SLUICE_VAULT_TOKEN_FILE", hint: "the variable VAULT_TOKEN", usage: "file with the token to use there; read anew each time"},
		{name: "vault-role", env: "SLUICE_VAULT_ROLE", usage: "role ID of an AppRole to log in as, instead of a token"},
		{name: "vault-secret-id-file", env: "SLUICE_VAULT_SECRET_ID_FILE", usage: "file with the role's secret ID"},
		{name: "jobs", env: "SLUICE_JOBS", value: "1000", usage: "jobs that run at once, at most"},
		{name: "cpus", env: "SLUICE_CPUS", value: strconv.Itoa(runtime.NumCPU()), hint: "the machine's", usage: "processors that jobs with a compute size share; 0 = no limit"},
		{name: "memory", env: "SLUICE_MEMORY", value: totalMemory(), hint: "the machine's", usage: "memory that jobs with a compute size share, such as 8G; 0 = no limit"},
		{name: "ahead", env: "SLUICE_AHEAD", value: "2", usage: "local sandboxes that are made ahead, of each kind that is in use; 0 = none"},
		{name: "prices", env: "SLUICE_PRICES", usage: "YAML file with what a minute costs, by compute size, executor and environment type; without it, nothing"},
		{name: "retention", env: "SLUICE_RETENTION", usage: "how long builds are kept where their project does not say, such as days=365,artifact-days=30,log-builds=100"},
		{name: "pack-logs", env: "SLUICE_PACK_LOGS", value: "10m", usage: "compress logs this long after their step ended"},
		{name: "upload-max", env: "SLUICE_UPLOAD_MAX", value: "1G", usage: "size of a work tree that 'sluice run --remote' sends, compressed; unpacked it may have 8 times that; 0 = no limit"},
		{name: "upload-quota", env: "SLUICE_UPLOAD_QUOTA", value: "10G", usage: "size of all such work trees of a project that builds still need; 0 = no limit"},
		{name: "any-runtime", env: "SLUICE_ANY_RUNTIME", value: "false", usage: "take a runtime version that is not there for a warning"},
		{name: "rate", env: "SLUICE_RATE", value: "5000", usage: "requests in a second that each token may make, twice that at once; 0 = any number"},
		{name: "streams", env: "SLUICE_STREAMS", value: "1000", usage: "streams and downloads that each user may have open; 0 = any number"},
		{name: "proxies", env: "SLUICE_PROXIES", usage: "networks such as 10.0.0.0/8, of proxies whose X-Forwarded-For is believed"},
		{name: "session", env: "SLUICE_SESSION", value: "7d", usage: "how long somebody who logs in stays so, at most"},
		{name: "oidc-issuer", env: "SLUICE_OIDC_ISSUER", usage: "URL of an OpenID provider at which people log in"},
		{name: "oidc-client", env: "SLUICE_OIDC_CLIENT", usage: "ID that the provider gave this server; the address to give the provider is URL/login/callback"},
		{name: "oidc-secret-file", env: "SLUICE_OIDC_SECRET_FILE", usage: "file with the client's secret"},
		{name: "oidc-scopes", env: "SLUICE_OIDC_SCOPES", value: "profile,email", usage: "scopes to ask for beside openid"},
		{name: "oidc-user-claim", env: "SLUICE_OIDC_USER_CLAIM", value: "preferred_username", usage: "claim that says what to call a user; or email"},
		{name: "oidc-groups-claim", env: "SLUICE_OIDC_GROUPS_CLAIM", usage: "claim with the groups of a user, such as groups; those of the same names here are joined"},
		{name: "oidc-domains", env: "SLUICE_OIDC_DOMAINS", usage: "domains of mail, one of which a user must have; empty = any"},
		{name: "oidc-groups", env: "SLUICE_OIDC_GROUPS", usage: "groups of the provider, in one of which a user must be; empty = anybody"},
		{name: "oidc-create", env: "SLUICE_OIDC_CREATE", value: "false", usage: "make users at their first login; else an administrator makes them"},
		{name: "oidc-role", env: "SLUICE_OIDC_ROLE", usage: "role of users who are made so: viewer, builder, maintainer or admin; empty = none"},
		{name: "audit-keep", env: "SLUICE_AUDIT_KEEP", value: "365d", usage: "how long entries of the audit are kept, such as 90d; 0 = for ever"},
		{name: "metrics", env: "SLUICE_METRICS", usage: "address for metrics that need no token, HOST:PORT; at /metrics of listen they always are, for those with a token of a viewer"},
		{name: "otlp", env: "SLUICE_OTLP", usage: "address of a collector of OpenTelemetry that traces of builds go to, such as http://127.0.0.1:4318"},
		{name: "otlp-headers", env: "SLUICE_OTLP_HEADERS", usage: "file with headers for the collector, one a line, such as 'Authorization: Bearer TOKEN'"},
		{name: "notify-for", env: "SLUICE_NOTIFY_FOR", value: "6h", usage: "for how long a notification that does not arrive is tried again"},
		{name: "notify-allow", env: "SLUICE_NOTIFY_ALLOW", usage: "addresses that notifications may go to although they are not public: networks such as 10.0.0.0/8, with commas, or all"},
		{name: "lease", env: "SLUICE_LEASE", value: "30s", usage: "with PostgreSQL: how long a server may be silent before the others take its builds over"},
		{name: "log", env: "SLUICE_LOG", value: "text", usage: "form of the server's own log: text or json"},
	}
}

// serverConfig is the effective configuration of `sluice serve`.
type serverConfig struct {
	data, listen, url string
	tlsCert, tlsKey   string
	acme              []string
	acmeDirectory     string
	acmeEmail         string
	redirect          string
	drain             time.Duration
	database, blobs   string
	masterKey         keySource
	vault             secret.VaultConfig
	jobs, ahead       int
	uploads           source.Uploads // their limits
	capacity          engine.Demand
	packLogs          time.Duration
	retention         ci.Retention
	anyRuntime        bool
	session           time.Duration
	rate              float64
	streams           int
	proxies           []netip.Prefix
	oidc              oidcConfig
	auditKeep         time.Duration // 0 = for ever
	prices            *price.Table
	jsonLog           bool
	metrics           string
	otlp, otlpHeaders string
	notifyFor         time.Duration
	notifyAllow       string
	lease             time.Duration
}

// unpackedTimes is how much bigger an upload may be unpacked.
const unpackedTimes = 8

// configFlags registers the table as flags. The values come from readConfig.
func configFlags(flags *pflag.FlagSet, lookup func(string) (string, bool)) {
	flags.String("config", "", "YAML file with these settings, by the flags' names")
	for _, s := range settings(lookup) {
		usage := s.usage + " [" + s.env + "]"
		if s.hint != "" { // the same on every machine, because the reference page is made of it
			flags.String(s.name, "", usage+" (default: "+s.hint+")")
		} else {
			flags.String(s.name, s.value, usage)
		}
	}
}

// told is a setting's effective value, and where it is from.
type told struct {
	setting
	value, from string
}

// readConfig settles every setting. All that is wrong comes back at once.
func readConfig(flags *pflag.FlagSet, lookup func(string) (string, bool)) ([]told, error) {
	name, _ := flags.GetString("config")
	file, err := configFile(name, lookup)
	if err != nil {
		return nil, err
	}
	var all []told
	for _, s := range settings(lookup) {
		t := told{setting: s, value: s.value, from: "default"}
		if v, ok := file[s.name]; ok {
			t.value, t.from = v, name
		}
		if v, ok := lookup(s.env); ok && v != "" {
			t.value, t.from = v, s.env
		}
		if f := flags.Lookup(s.name); f.Changed {
			t.value, t.from = f.Value.String(), "--"+s.name
		}
		all = append(all, t)
	}
	return settle(all), nil
}

// settle fills in the defaults that depend on other settings.
func settle(all []told) []told {
	at := map[string]*told{}
	for i := range all {
		at[all[i].name] = &all[i]
	}
	if at["database"].value == "" {
		at["database"].value = filepath.Join(at["data"].value, "sluice.db")
	}
	if at["blobs"].value == "" {
		at["blobs"].value = filepath.Join(at["data"].value, "blobs")
	}
	if at["master-key"].value == "" {
		at["master-key"].value = "file:" + filepath.Join(at["data"].value, "master.key")
	}
	if at["url"].value == "" {
		at["url"].value = address(at["listen"].value, at["tls-cert"].value != "" || at["acme"].value != "")
	}
	return all
}

// serverConfigOf checks the values.
func serverConfigOf(all []told) (c serverConfig, err error) {
	var wrong []error
	bad := func(t told, format string, args ...any) {
		where := "--" + t.name
		if t.from != where {
			where = t.name + " (from " + t.from + ")"
		}
		wrong = append(wrong, fmt.Errorf("%s: "+format, append([]any{where}, args...)...))
	}
	for _, t := range all {
		v := t.value
		switch t.name {
		case "data":
			if c.data, err = filepath.Abs(v); err != nil || v == "" {
				bad(t, "want a folder")
			}
		case "listen":
			c.listen = v
			if _, isSocket := strings.CutPrefix(v, "unix:"); !isSocket {
				if _, _, err := net.SplitHostPort(v); err != nil {
					bad(t, "%q: want HOST:PORT, such as 127.0.0.1:7700, or unix:PATH", v)
				}
			}
		case "url":
			c.url = strings.TrimSuffix(v, "/")
			if u, err := url.Parse(v); v != address(c.listen, false) && (err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https")) {
				bad(t, "%q: want an address such as https://ci.example.com", v)
			}
		case "acme":
			c.acme = acmeNames(v, func(format string, args ...any) { bad(t, format, args...) })
			if v != "" && c.tlsCert != "" {
				bad(t, "certificates are in files already: drop it, or tls-cert and tls-key")
			}
		case "acme-directory":
			c.acmeDirectory = v
			if u, err := url.Parse(v); err != nil || u.Scheme != "https" || u.Host == "" {
				bad(t, "%q: want an address that begins with https://", v)
			}
		case "acme-email":
			if c.acmeEmail = v; v != "" && !strings.Contains(v, "@") {
				bad(t, "%q: want a mail address", v)
			}
		case "redirect":
			if c.redirect = v; v == "" {
				break
			}
			if _, _, err := net.SplitHostPort(v); err != nil {
				bad(t, "%q: want HOST:PORT, such as :80", v)
			} else if !c.https() {
				bad(t, "there is no HTTPS to lead to: set tls-cert and tls-key, or acme")
			}
		case "drain":
			if c.drain, err = time.ParseDuration(v); err != nil || c.drain < 0 {
				bad(t, "%q: want a time such as 10m", v)
			}
		case "tls-cert":
			c.tlsCert = v
		case "tls-key":
			c.tlsKey = v
			if (v == "") != (c.tlsCert == "") {
				bad(t, "tls-cert and tls-key go together")
			}
		case "database":
			c.database = v
		case "blobs":
			c.blobs = v
			if blob.IsS3(v) {
				if _, err := blob.ParseAddress(v); err != nil {
					bad(t, "%s", ci.Message(err))
				}
			} else if c.blobs, err = filepath.Abs(v); err != nil || strings.Contains(v, "://") {
				bad(t, "want a folder, or s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION")
			}
		case "vault":
			c.vault.Address = v
		case "vault-namespace":
			c.vault.Namespace = v
		case "vault-ca":
			c.vault.CA = v
		case "vault-cert":
			c.vault.Cert = v
		case "vault-key":
			c.vault.Key = v
		case "vault-token-file":
			c.vault.TokenFile = v
		case "vault-role":
			c.vault.RoleID = v
		case "vault-secret-id-file":
			c.vault.SecretIDFile = v
		case "master-key":
			if c.masterKey, err = parseKeySource(v); err != nil {
				bad(t, "%w", err)
			}
		case "jobs":
			if c.jobs, err = strconv.Atoi(v); err != nil || c.jobs < 1 {
				bad(t, "%q: want a number from 1 on", v)
			}
		case "ahead":
			if c.ahead, err = strconv.Atoi(v); err != nil || c.ahead < 0 {
				bad(t, "%q: want a number, 0 or more", v)
			}
		case "cpus":
			if c.capacity.CPUs, err = strconv.ParseFloat(v, 64); err != nil || c.capacity.CPUs < 0 {
				bad(t, "%q: want a number of processors, such as 4 or 0.5; 0 = no limit", v)
			}
		case "memory":
			if v != "0" {
				if c.capacity.Memory, err = parseBytes(v); err != nil {
					bad(t, "%w", err)
				}
			}
		case "prices":
			if c.prices, err = readPrices(v); err != nil {
				bad(t, "%w", err)
			}
		case "retention":
			if c.retention, err = ci.ParseRetention(v); err != nil {
				bad(t, "%s", ci.Message(err))
			}
		case "pack-logs":
			if c.packLogs, err = time.ParseDuration(v); err != nil || c.packLogs < 0 {
				bad(t, "%q: want a time such as 10m; 0s = at once", v)
			}
		case "upload-max", "upload-quota":
			size := int64(0)
			if v != "0" {
				if size, err = parseBytes(v); err != nil {
					bad(t, "%q: want a size such as 500M or 2G; 0 = no limit", v)
				}
			}
			if t.name == "upload-quota" {
				c.uploads.Quota = size
			} else {
				c.uploads.Most, c.uploads.Unpacked = size, min(size, math.MaxInt64/unpackedTimes)*unpackedTimes
			}
		case "any-runtime":
			if c.anyRuntime, err = strconv.ParseBool(v); err != nil {
				bad(t, "%q: want true or false", v)
			}
		case "rate":
			if c.rate, err = strconv.ParseFloat(v, 64); err != nil || !(c.rate >= 0 && c.rate <= 1e9) {
				bad(t, "%q: want a number of requests in a second, or 0 for any number", v)
			}
		case "streams":
			if c.streams, err = strconv.Atoi(v); err != nil || c.streams < 0 {
				bad(t, "%q: want a number, 0 or more", v)
			}
		case "proxies":
			for _, text := range commaList(v) {
				network, err := netip.ParsePrefix(text)
				if ip, single := netip.ParseAddr(text); err != nil && single == nil {
					network, err = ip.Prefix(ip.BitLen())
				}
				if err != nil {
					bad(t, "%q: want networks such as 10.0.0.0/8, or addresses", text)
				}
				c.proxies = append(c.proxies, network)
			}
		case "session":
			if c.session, err = days(v); err != nil || c.session < time.Minute || c.session > maxSession {
				bad(t, "%q: want a time such as 12h or 7d, from a minute to 366 days", v)
			}
		case "audit-keep":
			if c.auditKeep, err = days(v); err != nil || c.auditKeep < 0 {
				bad(t, "%q: want a time such as 90d or 2160h, or 0 for ever", v)
			}
		case "metrics":
			c.metrics = v
			if _, _, err := net.SplitHostPort(v); v != "" && err != nil {
				bad(t, "%q: want HOST:PORT, such as 127.0.0.1:7701", v)
			}
		case "otlp":
			c.otlp = v
			if _, err := trace.New(trace.Config{URL: v}); v != "" && err != nil {
				bad(t, "%s", ci.Message(err))
			}
		case "otlp-headers":
			c.otlpHeaders = v
		case "notify-for":
			if c.notifyFor, err = time.ParseDuration(v); err != nil || c.notifyFor <= 0 {
				bad(t, "%q: want a time such as 6h or 30m", v)
			}
		case "notify-allow":
			c.notifyAllow = v
			if _, err = notify.ParseAllowed(v); err != nil {
				bad(t, "%s", ci.Message(err))
			}
		case "lease":
			if c.lease, err = time.ParseDuration(v); err != nil || c.lease < time.Second {
				bad(t, "%q: want a time of a second or more, such as 30s", v)
			}
		case "log":
			if c.jsonLog = v == "json"; v != "json" && v != "text" {
				bad(t, "%q: want text or json", v)
			}
		default:
			c.oidc.set(t, bad)
		}
	}
	c.oidc.check(func(name, format string, args ...any) {
		bad(told{setting: setting{name: name}, from: "--" + name}, format, args...)
	})
	if len(wrong) > 0 {
		return c, &exitError{code: exitUsage, err: errors.Join(wrong...)}
	}
	return c, nil
}

// https says whether the server speaks it.
func (c *serverConfig) https() bool { return c.tlsCert != "" || len(c.acme) > 0 }

// acmeNames reads names of hosts, for each of which a certificate can be had.
func acmeNames(text string, bad func(format string, args ...any)) (names []string) {
	for name := range strings.SplitSeq(text, ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		switch {
		case name == "":
		case net.ParseIP(name) != nil || !strings.Contains(name, ".") || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "":
			bad("%q: want names such as ci.example.com", name)
		default:
			names = append(names, name)
		}
	}
	return names
}

// address is the server's own, as a client on this machine reaches it.
func address(listen string, tls bool) string {
	scheme := "http"
	if tls {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil || strings.HasPrefix(listen, "unix:") {
		return listen // a socket
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// dataFolder is the default of --data.
func dataFolder(lookup func(string) (string, bool)) string {
	if os.Geteuid() == 0 {
		return "/var/lib/sluice"
	}
	if dir, ok := lookup("XDG_DATA_HOME"); ok && filepath.IsAbs(dir) {
		return filepath.Join(dir, "sluice")
	}
	if dir, ok := lookup("HOME"); ok && filepath.IsAbs(dir) {
		return filepath.Join(dir, ".local", "share", "sluice")
	}
	return "sluice-data"
}

// totalMemory is the machine's, as a setting; "0" where it is not known.
func totalMemory() string {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return "0"
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
			return f[1] + "K"
		}
	}
	return "0"
}
