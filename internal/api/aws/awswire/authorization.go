package awswire

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// authorization is what a request says of its signature.
type authorization struct {
	scope     scope
	signed    []string // header names in lower case, sorted
	signature string
	token     string // of temporary keys
	time      time.Time
	presigned bool
	expires   time.Duration // of a presigned URL
}

const (
	maxSigned  = 128 // signed headers
	maxExpires = 7 * 24 * time.Hour
)

// authorizationOf reads the signature of a request from its Authorization header or, for a presigned URL,
// from its query.
func authorizationOf(h http.Header, query url.Values) (authorization, error) {
	header := h.Get("Authorization")
	switch {
	case header != "" && query.Has("X-Amz-Algorithm"):
		return authorization{}, failf(malformedAuth, "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified")
	case header != "":
		return headerAuthorization(h, header)
	case query.Has("X-Amz-Algorithm") || query.Has("X-Amz-Signature"):
		return queryAuthorization(query)
	case query.Has("AWSAccessKeyId") || query.Has("Signature"):
		return authorization{}, version2()
	case formData(h):
		return authorization{}, failf(postForm, "A form upload is not served here: send the object with PUT, signed with %s, or by a URL presigned with it.", algorithm)
	default:
		return authorization{}, failf(noSignature, "Missing Authentication Token")
	}
}

func headerAuthorization(h http.Header, header string) (a authorization, err error) {
	if err := a.parse(header); err != nil {
		return a, err
	}
	a.token = h.Get("X-Amz-Security-Token")
	date := h.Get("X-Amz-Date")
	if date == "" {
		date = h.Get("Date")
	}
	if date == "" {
		return a, failf(malformedAuth, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
	}
	if a.time, err = time.Parse(dateForm, date); err != nil {
		if a.time, err = parseTime(date); err != nil {
			return a, failf(malformedAuth, "Date must be in ISO-8601 'basic format'. Got '%s'.", clip(date))
		}
	}
	return a, a.checkDate()
}

// version2 refuses Signature Version 2 and names the setting by which the usual clients leave it.
func version2() error {
	return failf(oldSignature, "The authorization mechanism you have provided is not supported. Please use %s. "+
		"(AWS CLI: aws configure set default.s3.signature_version s3v4; boto3: Config(signature_version='s3v4'); s3cmd: signature_v2 = False)", algorithm)
}

// formData reports whether the body is an HTML form with files, which carries its signature in its fields.
func formData(h http.Header) bool {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(kind), "multipart/form-data")
}

// parse reads the header's own three parts.
func (a *authorization) parse(header string) error {
	scheme, rest, _ := strings.Cut(header, " ")
	if scheme == "AWS" {
		return version2()
	}
	if scheme != algorithm {
		return failf(malformedAuth, "Unsupported authorization type: only %s is supported", algorithm)
	}
	var credential, signed string
	for part := range strings.SplitSeq(rest, ",") {
		k, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch k {
		case "Credential":
			credential = v
		case "SignedHeaders":
			signed = v
		case "Signature":
			a.signature = v
		}
	}
	for _, p := range []struct{ name, value string }{{"Credential", credential}, {"SignedHeaders", signed}, {"Signature", a.signature}} {
		if p.value == "" {
			return failf(malformedAuth, "Authorization header requires '%s' parameter.", p.name)
		}
	}
	var err error
	if a.scope, err = parseScope(credential, malformedAuth); err != nil {
		return err
	}
	a.signed, err = parseSigned(signed, malformedAuth)
	return err
}

func queryAuthorization(q url.Values) (a authorization, err error) {
	for _, name := range []string{"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"} {
		if len(q[name]) != 1 || q[name][0] == "" {
			return a, failf(malformedParams, "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters.")
		}
	}
	if q.Get("X-Amz-Algorithm") != algorithm {
		return a, failf(malformedParams, `X-Amz-Algorithm only supports "%s"`, algorithm)
	}
	a.presigned = true
	a.signature = q.Get("X-Amz-Signature")
	a.token = q.Get("X-Amz-Security-Token")
	if a.scope, err = parseScope(q.Get("X-Amz-Credential"), malformedParams); err != nil {
		return a, err
	}
	if a.signed, err = parseSigned(q.Get("X-Amz-SignedHeaders"), malformedParams); err != nil {
		return a, err
	}
	if a.time, err = time.Parse(dateForm, q.Get("X-Amz-Date")); err != nil {
		return a, failf(malformedParams, "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
	}
	seconds, err := strconv.Atoi(q.Get("X-Amz-Expires"))
	switch {
	case err != nil:
		return a, failf(malformedParams, "X-Amz-Expires should be a number")
	case seconds < 0:
		return a, failf(malformedParams, "X-Amz-Expires must be non-negative")
	case seconds == 0:
		return a, failf(malformedParams, "X-Amz-Expires must be at least one second")
	case seconds > int(maxExpires/time.Second):
		return a, failf(malformedParams, "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds")
	}
	a.expires = time.Duration(seconds) * time.Second
	return a, a.checkDate()
}

// parseScope reads key/date/region/service/aws4_request; a key may hold no slash.
func parseScope(credential string, malformed failure) (scope, error) {
	parts := strings.Split(credential, "/")
	if len(parts) != 5 || slices.Contains(parts, "") {
		return scope{}, failf(malformed, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'", clip(credential))
	}
	if parts[4] != terminator {
		return scope{}, failf(malformed, "Credential should be scoped with a valid terminator: '%s', not '%s'.", terminator, clip(parts[4]))
	}
	if len(parts[0]) > 128 || !word(parts[0]) {
		return scope{}, failf(malformed, "The access key id in the credential is not one.")
	}
	if len(parts[1]) != 8 {
		return scope{}, failf(malformed, "Invalid credential date \"%s\". This date is not in the format yyyyMMdd.", clip(parts[1]))
	}
	for _, p := range parts[2:4] {
		if len(p) > 64 || !word(p) {
			return scope{}, failf(malformed, "'%s' in the credential is no region or service.", clip(p))
		}
	}
	return scope{key: parts[0], date: parts[1], region: parts[2], service: parts[3]}, nil
}

// word reports whether s consists of letters, digits, - and _ alone.
func word(s string) bool {
	for i := range len(s) {
		if c := s[i]; !unreserved(c) || c == '.' || c == '~' {
			return false
		}
	}
	return true
}

func parseSigned(s string, malformed failure) ([]string, error) {
	names := strings.Split(s, ";")
	if len(names) > maxSigned {
		return nil, failf(malformed, "more than %d signed headers", maxSigned)
	}
	for i, n := range names {
		if n == "" || n != strings.ToLower(n) || i > 0 && n <= names[i-1] {
			return nil, failf(malformed, "SignedHeaders must be lower-case header names, sorted: got '%s'", clip(s))
		}
	}
	return names, nil
}

// checkDate checks that the day of the scope is that of the signature.
func (a *authorization) checkDate() error {
	if day := a.time.UTC().Format("20060102"); day != a.scope.date {
		return failf(wrongSignature, "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.",
			a.scope.date, day, a.time.UTC().Format(dateForm))
	}
	return nil
}
