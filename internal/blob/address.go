package blob

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Address is a place in S3 for blobs, as `--blobs` names it:
// s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION. There is no place in it
// for credentials, because it is shown and logged.
type Address struct {
	Bucket   string
	Prefix   string // of all keys: "" or ending in a slash
	Endpoint string // HOST or HOST:PORT; "" = AWS
	Insecure bool   // http
	Region   string // "" = the one that the environment names, else us-east-1
}

// IsS3 tells an address from the path of a folder.
func IsS3(text string) bool { return strings.HasPrefix(text, "s3://") }

// ParseAddress reads an address. It says all that is wrong with it at once.
func ParseAddress(text string) (a Address, err error) {
	var wrong []string
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "s3" {
		// The text stays out: what url.Parse could not read may hold a password.
		return a, fmt.Errorf("want s3://BUCKET/PREFIX?endpoint=https://HOST&region=REGION: %w", ci.ErrInvalid)
	}
	if u.User != nil {
		bad("credentials do not belong into the address; give them as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or in a profile")
	}
	if a.Bucket = u.Host; len(a.Bucket) < 3 || len(a.Bucket) > 63 || strings.Trim(a.Bucket, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
		bad("%q is no name of a bucket: want 3 to 63 lower-case letters, digits, dots and hyphens", a.Bucket)
	}
	if prefix := strings.Trim(u.Path, "/"); prefix != "" {
		if err := CheckKey(prefix); err != nil || len(prefix) > 256 {
			bad("%.80q is no prefix of keys: want names with slashes between, of at most 256 bytes", prefix)
		}
		a.Prefix = prefix + "/"
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		bad("what follows the question mark cannot be read")
	}
	for name, values := range query {
		value := values[len(values)-1]
		switch name {
		case "region":
			a.Region = value
		case "endpoint":
			if !strings.Contains(value, "://") {
				value = "https://" + value
			}
			e, err := url.Parse(value)
			if err != nil || e.Host == "" || e.User != nil || (e.Scheme != "http" && e.Scheme != "https") || strings.Trim(e.Path, "/") != "" || e.RawQuery != "" {
				bad("endpoint: want an address such as https://s3.example.com or http://127.0.0.1:9000")
				continue
			}
			a.Endpoint, a.Insecure = e.Host, e.Scheme == "http"
		default:
			bad("there is no option %.40q; there are endpoint and region", name)
		}
	}
	if u.Fragment != "" {
		bad("a # has no meaning in it")
	}
	if len(wrong) > 0 {
		return a, fmt.Errorf("%s: %w", strings.Join(wrong, "; "), ci.ErrInvalid)
	}
	return a, nil
}

// String gives the address back.
func (a Address) String() string {
	u := url.URL{Scheme: "s3", Host: a.Bucket, Path: "/" + strings.TrimSuffix(a.Prefix, "/")}
	q := url.Values{}
	if a.Endpoint != "" {
		scheme := "https://"
		if a.Insecure {
			scheme = "http://"
		}
		q.Set("endpoint", scheme+a.Endpoint)
	}
	if a.Region != "" {
		q.Set("region", a.Region)
	}
	u.RawQuery = q.Encode()
	return u.String()
}
