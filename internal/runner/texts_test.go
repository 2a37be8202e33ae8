package runner

import (
	"os/exec"
	"testing"
)

// TestHereDocument asks real shells what they make of a text.
func TestHereDocument(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`app-$V`:                              `app-1.5`,
		`"quoted" 'as it is' $(echo here)`:    `"quoted" 'as it is' here`,
		`$V\`:                                 `1.5\`,
		`$V\\`:                                `1.5\`,
		`$V\\\`:                               `1.5\\`,
		`\$V`:                                 `$V`,
		"$V\nSLUICE_TEXT_END\nrm -rf ~\n$V":   "1.5\nSLUICE_TEXT_END\nrm -rf ~\n1.5",
		"SLUICE_TEXT_END_\nSLUICE_TEXT_END$V": "SLUICE_TEXT_END_\nSLUICE_TEXT_END1.5",
	} {
		for _, shell := range []string{"sh", "bash"} {
			out, err := exec.CommandContext(t.Context(), shell, "-c", "V=1.5\n"+hereDocument(text)).CombinedOutput()
			if err != nil || string(out) != want+"\n\x00" {
				t.Errorf("%s: %q is %q (%v), want %q", shell, text, out, err, want)
			}
		}
	}
}
