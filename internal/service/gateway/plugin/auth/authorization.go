package auth

import (
	"encoding/base64"
	"strings"
)

// Parse reads an Authorization header of a scheme whose credentials are a name and a
// password in base64, as Basic's are (RFC 7617). Neither may be empty.
func Parse(scheme, header string) (user, password string, ok bool) {
	given, rest, ok := strings.Cut(strings.TrimSpace(header), " ")
	if !ok || !strings.EqualFold(given, scheme) {
		return "", "", false
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(rest))
	if err != nil {
		return "", "", false
	}
	user, password, ok = strings.Cut(string(raw), ":")
	return user, password, ok && user != "" && password != ""
}
