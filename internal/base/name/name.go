// Package name is the vocabulary of names that every floor shares: ARNs, the IAM
// action names, account ids, regions and generated ids. It parses, prints and
// validates; it decides nothing.
package name

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
)

// ARN is an Amazon Resource Name: arn:partition:service:region:account:resource.
// The zero ARN prints as "*", which is what an action that names no resource is
// authorised against.
type ARN struct {
	Service  string
	Region   string
	Account  string
	Resource string // everything behind the fifth colon, colons and slashes included
}

// Any is the ARN of an action that names no resource.
var Any = ARN{}

// String prints the ARN in the aws partition.
func (a ARN) String() string {
	if a == Any {
		return "*"
	}
	return "arn:aws:" + a.Service + ":" + a.Region + ":" + a.Account + ":" + a.Resource
}

// Within reports whether the ARN names a resource of the service in the region and the account.
func (a ARN) Within(service, region, account string) bool {
	return a.Service == service && a.Region == region && a.Account == account
}

// ParseARN reads an ARN of any partition.
func ParseARN(s string) (ARN, error) {
	parts := strings.SplitN(s, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[1] == "" || parts[2] == "" || parts[5] == "" {
		return ARN{}, fmt.Errorf("%q is not an ARN (arn:partition:service:region:account:resource)", s)
	}
	return ARN{Service: parts[2], Region: parts[3], Account: parts[4], Resource: parts[5]}, nil
}

// Action is an IAM action name, service:Operation.
type Action string

// Attr is one condition key of an access request with its values, such as
// {"s3:prefix", ["logs/"]}.
type Attr struct {
	Key    string
	Values []string
}

// ValidAccount reports whether s is a twelve-digit account id.
func ValidAccount(s string) bool {
	if len(s) != 12 {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

const upperBase32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
const alphanumeric = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// UniqueID returns prefix followed by random base-32 capitals, n characters in all,
// the form of access key ids (AKIA…, 20) and IAM unique ids (AIDA…, 21).
func UniqueID(prefix string, n int) string {
	return prefix + random(upperBase32, n-len(prefix))
}

// Secret returns n random alphanumeric characters. Secrets are alphanumeric because
// they end up in URLs and shell lines.
func Secret(n int) string { return random(alphanumeric, n) }

// Hex returns n random bytes in lower-case hexadecimal.
func Hex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand aborts the program instead
	return hex.EncodeToString(b)
}

func random(alphabet string, n int) string {
	out := make([]byte, 0, n)
	var buf [64]byte
	limit := 256 - 256%len(alphabet)
	for len(out) < n {
		_, _ = rand.Read(buf[:])
		for _, b := range buf {
			if int(b) < limit && len(out) < n { // reject the uneven tail: no character is likelier
				out = append(out, alphabet[int(b)%len(alphabet)])
			}
		}
	}
	return string(out)
}
