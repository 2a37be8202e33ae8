package client

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrSignature says that a webhook's request is not one that the server sent.
var ErrSignature = errors.New("the signature does not fit")

// VerifyWebhook checks the header Sluice-Signature of a webhook's request against
// its body, as it was sent, and the key of the target. A signature that is older
// than tolerance, or as much ahead of the clock, is refused: it may be a replay.
func VerifyWebhook(key, header string, body []byte, now time.Time, tolerance time.Duration) error {
	var stamp string
	var given [][]byte
	for part := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "t":
			stamp = value
		case "v1":
			if sum, err := hex.DecodeString(value); err == nil {
				given = append(given, sum)
			}
		}
	}
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || len(given) == 0 || key == "" {
		return fmt.Errorf("%w: want t=SECONDS,v1=HEX, and a key", ErrSignature)
	}
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(stamp + "."))
	mac.Write(body)
	sum, fits := mac.Sum(nil), false
	for _, g := range given {
		fits = hmac.Equal(sum, g) || fits
	}
	if !fits {
		return ErrSignature
	}
	if age := now.Sub(time.Unix(seconds, 0)); age > tolerance || age < -tolerance {
		return fmt.Errorf("%w: it was made %s ago", ErrSignature, age.Round(time.Second))
	}
	return nil
}
