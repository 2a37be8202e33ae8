package local

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// secretsInEtc are the files and folders of /etc that hold keys and passwords.
// An ordinary user could not read most of them anyway; root's builds must not
// either.
var secretsInEtc = []string{
	"shadow-", "gshadow-", "security/opasswd", ".pwd.lock",
	"ssh/ssh_host_rsa_key", "ssh/ssh_host_ecdsa_key", "ssh/ssh_host_ed25519_key", "ssh/ssh_host_dsa_key",
	"ssl/private", "pki/tls/private", "pki/CA/private", "letsencrypt", "krb5.keytab", "ipsec.secrets", "ipsec.d/private", "swanctl",
	"kubernetes", "rancher", "etcd", "docker/key.json", "containers/auth.json", "cni", "crio",
	"wireguard", "openvpn", "NetworkManager/system-connections", "wpa_supplicant", "ppp",
	"mysql/debian.cnf", "exim4/passwd.client", "postfix/sasl_passwd", "postfix/sasl_passwd.db", "msmtprc", "ssmtp", "netrc",
	"gitlab", "gitlab-runner", "jenkins", "sluice", "vault.d", "consul.d", "nomad.d", "boto.cfg", "restic", "borgmatic", "rclone",
	"sssd/sssd.conf", "samba/private", "freeradius", "fwknop", "duo", "google-cloud-ops-agent", "amazon", "azuredevops",
}

// coverEtc fills the upper folder of /etc: white-outs over secrets, user
// databases without passwords, and a resolv.conf that does not lead out of the
// sandbox.
func coverEtc(upper string) error {
	for _, s := range secretsInEtc {
		if _, err := os.Lstat("/etc/" + s); err != nil {
			continue
		}
		if err := makeUpperDirs("/etc", upper, filepath.Dir(s)); err != nil {
			return err
		}
		// A character device 0:0 is overlayfs's own sign for "not there".
		if err := unix.Mknod(filepath.Join(upper, s), unix.S_IFCHR, 0); err != nil {
			return fmt.Errorf("hide /etc/%s: %w", s, err)
		}
	}
	if err := shadow("/etc/passwd", filepath.Join(upper, "shadow"), ":*:19000:0:99999:7:::\n"); err != nil {
		return err
	}
	if err := shadow("/etc/group", filepath.Join(upper, "gshadow"), ":*::\n"); err != nil {
		return err
	}
	return copyResolver(upper)
}

// makeUpperDirs makes the folders down to rel, each with the mode it has below.
func makeUpperDirs(lower, upper, rel string) error {
	if rel == "." {
		return nil
	}
	at := ""
	for part := range strings.SplitSeq(rel, "/") {
		at = filepath.Join(at, part)
		if err := mirror(filepath.Join(lower, at), filepath.Join(upper, at), os.Geteuid() != 0); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}

// shadow writes a password file in which everybody is there and nobody has a password.
func shadow(names, to, rest string) error {
	data, err := os.ReadFile(names)
	if err != nil {
		return nil //nolint:nilerr // a host without users needs none
	}
	var out strings.Builder
	for line := range strings.Lines(string(data)) {
		if name, _, ok := strings.Cut(line, ":"); ok && name != "" && name[0] != '#' && name[0] != '+' {
			out.WriteString(name)
			out.WriteString(rest)
		}
	}
	if err := os.WriteFile(to, []byte(out.String()), 0o640); err != nil {
		return err
	}
	return os.Chmod(to, 0o640)
}

// copyResolver replaces files that say who is who on the network, where they are
// links to what sandboxes do not see (/run, mostly) or mounts of their own, as in
// a container.
func copyResolver(upper string) error {
	for _, name := range []string{"resolv.conf", "hosts", "hostname"} {
		path := "/etc/" + name
		if at, err := filepath.EvalSymlinks(path); err != nil || (within(at, "/etc") && onRootMount(path) == onRootMount("/etc")) {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		to := filepath.Join(upper, name)
		if err := os.WriteFile(to, data, 0o644); err != nil {
			return err
		}
		if err := os.Chmod(to, 0o644); err != nil {
			return err
		}
	}
	return nil
}
