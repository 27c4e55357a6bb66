package auth

import (
	"encoding/base64"
	"strings"
)

// Parse reads an Authorization header of a scheme whose credentials are a name and a
// password in base64, as Basic's are (RFC 7617). Neither may be empty.
func Parse(scheme, header string) (user, password string, ok bool) {
	header = strings.TrimSpace(header)
	if len(header) < len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return "", "", false
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(header[len(scheme):]))
	if err != nil {
		return "", "", false
	}
	user, password, ok = strings.Cut(string(raw), ":")
	return user, password, ok && user != "" && password != ""
}
