package iam

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"

	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/name"
)

// The grammar and the order of evaluation are those of the IAM user guide, "IAM JSON
// policy reference" and "Policy evaluation logic".

type verdict uint8

const (
	silent verdict = iota
	allows
	denies
)

// access is one question to a policy.
type access struct {
	action   string
	resource string
	who      caller.Identity
	caller   caller.Request
	attrs    []name.Attr
}

type policy struct{ statements []statement }

type statement struct {
	deny         bool
	actions      []string // lower case
	notActions   bool
	resources    []string
	notResources bool
	variables    bool // ${…} means something, which it does not in policies of the old version
	conditions   []condition
}

type condition struct {
	operator string // lower case, without IfExists
	ifExists bool
	key      string // lower case
	values   []string
	prefixes []netip.Prefix // of values, for the IP operators

	variables bool // as in statement
}

// strings1 is a JSON string or list of strings.
type strings1 []string

func (s *strings1) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var one string
		err := json.Unmarshal(b, &one)
		*s = strings1{one}
		return err
	}
	return json.Unmarshal(b, (*[]string)(s))
}

type statementJSON struct {
	Sid         string
	Effect      string
	Action      strings1
	NotAction   strings1
	Resource    strings1
	NotResource strings1
	Condition   map[string]map[string]conditionValues
}

// conditionValues also takes numbers and booleans, as policies write them.
type conditionValues []string

func (c *conditionValues) UnmarshalJSON(b []byte) error {
	var raw any
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	list, ok := raw.([]any)
	if !ok {
		list = []any{raw}
	}
	for _, v := range list {
		switch v := v.(type) {
		case string:
			*c = append(*c, v)
		case bool, float64:
			text, err := json.Marshal(v)
			if err != nil {
				return err
			}
			*c = append(*c, string(text))
		default:
			return errors.New("a condition value is a string, a number or a boolean")
		}
	}
	return nil
}

// parsePolicy checks a document and prepares it for decisions.
func parsePolicy(document string) (policy, error) {
	var doc struct {
		Version   string
		ID        string `json:"Id"`
		Statement json.RawMessage
	}
	if err := strictJSON([]byte(document), &doc); err != nil {
		return policy{}, MalformedPolicy.Wrap(err, "Syntax errors in policy: %s", err)
	}
	if doc.Version != "" && doc.Version != "2012-10-17" && doc.Version != "2008-10-17" {
		return policy{}, MalformedPolicy.Field("PolicyDocument", "The policy's Version must be 2012-10-17 or 2008-10-17.")
	}
	var list []statementJSON
	raw := bytes.TrimSpace(doc.Statement)
	if len(raw) > 0 && raw[0] == '{' {
		raw = slices.Concat([]byte("["), raw, []byte("]"))
	}
	if len(raw) == 0 {
		return policy{}, MalformedPolicy.Field("PolicyDocument", "The policy has no Statement.")
	}
	if err := strictJSON(raw, &list); err != nil {
		return policy{}, MalformedPolicy.Wrap(err, "Syntax errors in policy: %s", err)
	}
	var p policy
	for _, s := range list {
		st, err := s.compile(doc.Version == "2012-10-17")
		if err != nil {
			return policy{}, err
		}
		p.statements = append(p.statements, st)
	}
	if len(p.statements) == 0 {
		return policy{}, MalformedPolicy.Field("PolicyDocument", "The policy has no Statement.")
	}
	return p, nil
}

// strictJSON refuses what it does not know and what it would overwrite, so that no part of
// a policy is passed over.
func strictJSON(b []byte, into any) error {
	if err := noDuplicates(json.NewDecoder(bytes.NewReader(b))); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more behind the document")
	}
	return nil
}

// noDuplicates reads one value and refuses an object in it that has a key twice. Keys that
// differ in case only are one, as the decoder takes them for one.
func noDuplicates(d *json.Decoder) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	delim, nested := token.(json.Delim)
	if !nested {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		if delim == '{' {
			token, err := d.Token()
			if err != nil {
				return err
			}
			key := lower(token.(string)) // the decoder has seen to it
			if seen[key] {
				return fmt.Errorf("the key %q is there twice", token)
			}
			seen[key] = true
		}
		if err := noDuplicates(d); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

func (s statementJSON) compile(variables bool) (statement, error) {
	st := statement{variables: variables}
	switch s.Effect {
	case "Allow":
	case "Deny":
		st.deny = true
	default:
		return st, MalformedPolicy.Field("PolicyDocument", "A statement's Effect must be Allow or Deny, not %q.", s.Effect)
	}
	if (len(s.Action) == 0) == (len(s.NotAction) == 0) {
		return st, MalformedPolicy.Field("PolicyDocument", "Policy statement must contain actions: either Action or NotAction.")
	}
	if (len(s.Resource) == 0) == (len(s.NotResource) == 0) {
		return st, MalformedPolicy.Field("PolicyDocument", "Policy statement must contain resources: either Resource or NotResource.")
	}
	st.notActions, st.notResources = len(s.NotAction) > 0, len(s.NotResource) > 0
	for _, a := range slices.Concat(s.Action, s.NotAction) {
		if a != "*" && !strings.Contains(a, ":") {
			return st, MalformedPolicy.Field("PolicyDocument", "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.: %q", a)
		}
		st.actions = append(st.actions, lower(a))
	}
	for _, r := range slices.Concat(s.Resource, s.NotResource) {
		if r != "*" && !strings.HasPrefix(r, "arn:") {
			return st, MalformedPolicy.Field("PolicyDocument", "Resource %s must be in ARN format or \"*\".", r)
		}
		if variables {
			if err := checkVariables(r); err != nil {
				return st, err
			}
		}
		st.resources = append(st.resources, r)
	}
	for op, keys := range s.Condition {
		for key, values := range keys {
			c, err := compileCondition(op, key, values, variables)
			if err != nil {
				return st, err
			}
			st.conditions = append(st.conditions, c)
		}
	}
	return st, nil
}

var operators = []string{"stringequals", "stringnotequals", "stringequalsignorecase", "stringnotequalsignorecase",
	"stringlike", "stringnotlike", "arnequals", "arnlike", "arnnotequals", "arnnotlike", "ipaddress", "notipaddress", "bool", "null"}

// conditionKeys are those that requests carry: of the caller, and from the services.
var conditionKeys = []string{"aws:username", "aws:userid", "aws:principalarn", "aws:principalaccount", "aws:sourceip", "aws:requestedregion",
	"s3:prefix", "s3:delimiter"}

func compileCondition(op, key string, values []string, variables bool) (condition, error) {
	c := condition{operator: lower(op), key: lower(key), values: values, variables: variables}
	c.operator, c.ifExists = strings.CutSuffix(c.operator, "ifexists")
	if !slices.Contains(operators, c.operator) {
		return c, MalformedPolicy.Field("PolicyDocument", "The condition operator %s is not served yet, and a condition is never ignored.", op)
	}
	if !slices.Contains(conditionKeys, c.key) {
		return c, MalformedPolicy.Field("PolicyDocument", "The condition key %s is not served yet, and a condition is never ignored.", key)
	}
	for _, v := range values {
		if variables {
			if err := checkVariables(v); err != nil {
				return c, err
			}
		}
		if strings.HasSuffix(c.operator, "ipaddress") {
			p, err := netip.ParsePrefix(v)
			if err != nil {
				a, errAddr := netip.ParseAddr(v)
				if errAddr != nil {
					return c, MalformedPolicy.Field("PolicyDocument", "%q is neither an address nor a CIDR block.", v)
				}
				p = netip.PrefixFrom(a, a.BitLen())
			}
			c.prefixes = append(c.prefixes, p)
		}
	}
	return c, nil
}

// checkVariables refuses policy variables that expand would not know.
func checkVariables(s string) error {
	for rest := s; ; {
		_, after, found := strings.Cut(rest, "${")
		if !found {
			return nil
		}
		variable, behind, closed := strings.Cut(after, "}")
		switch {
		case !closed:
			return MalformedPolicy.Field("PolicyDocument", "A policy variable in %q is not closed.", s)
		case variable == "*", variable == "?", variable == "$",
			strings.EqualFold(variable, "aws:username"), strings.EqualFold(variable, "aws:userid"), strings.EqualFold(variable, "aws:PrincipalAccount"):
		default:
			return MalformedPolicy.Field("PolicyDocument", "The policy variable ${%s} is not served yet.", variable)
		}
		rest = behind
	}
}

func (p policy) decide(a access) verdict {
	v := silent
	for _, s := range p.statements {
		if !s.matches(a) {
			continue
		}
		if s.deny {
			return denies
		}
		v = allows
	}
	return v
}

func (s statement) matches(a access) bool {
	action := lower(a.action)
	if s.notActions == slices.ContainsFunc(s.actions, func(p string) bool { return glob(p, action) }) {
		return false
	}
	matched := slices.ContainsFunc(s.resources, func(p string) bool {
		pattern, ok := expand(p, a.who, s.variables)
		return ok && glob(pattern, a.resource)
	})
	if s.notResources == matched {
		return false
	}
	for _, c := range s.conditions {
		if !c.holds(a) {
			return false
		}
	}
	return true
}

// escapes stand for the characters that ${*}, ${?} and ${$} mean literally.
const (
	literalStar     = "\x01"
	literalQuestion = "\x02"
)

// expand replaces policy variables; ok is false where one has no value for this caller,
// and a statement with it does not match.
func expand(s string, who caller.Identity, variables bool) (string, bool) {
	if !variables || !strings.Contains(s, "${") {
		return s, true
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "${")
		b.WriteString(before)
		if !found {
			return b.String(), true
		}
		variable, rest, _ := strings.Cut(after, "}")
		var v string
		switch lower(variable) {
		case "*":
			v = literalStar
		case "?":
			v = literalQuestion
		case "$":
			v = "$"
		case "aws:username":
			v = who.UserName
		case "aws:userid":
			v = who.UserID
		case "aws:principalaccount":
			v = who.Account
		}
		if v == "" {
			return "", false
		}
		b.WriteString(v)
		s = rest
	}
}

// glob matches * and ? over the whole of s.
func glob(pattern, s string) bool {
	star, mark := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(pattern) && pattern[i] == '*':
			star, mark = i, j
			i++
		case i < len(pattern) && (pattern[i] == '?' || pattern[i] == s[j] ||
			(pattern[i] == literalStar[0] && s[j] == '*') || (pattern[i] == literalQuestion[0] && s[j] == '?')):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(pattern) && pattern[i] == '*' {
		i++
	}
	return i == len(pattern)
}

func lower(s string) string { return strings.ToLower(s) }

// values returns the request's values of a condition key.
func (a access) values(key string) ([]string, bool) {
	var v string
	switch key {
	case "aws:username":
		v = a.who.UserName
	case "aws:userid":
		v = a.who.UserID
	case "aws:principalarn":
		v = a.who.ARN
	case "aws:principalaccount":
		v = a.who.Account
	case "aws:sourceip":
		v = a.caller.SourceIP
	case "aws:requestedregion":
		v = a.caller.Region
	default:
		for _, attr := range a.attrs {
			if lower(attr.Key) == key {
				return attr.Values, true
			}
		}
		return nil, false
	}
	return []string{v}, v != ""
}

func (c condition) holds(a access) bool {
	got, present := a.values(c.key)
	if c.operator == "null" {
		return len(c.values) > 0 && strings.EqualFold(c.values[0], "true") == !present
	}
	positive, negated := cutNot(c.operator)
	if !present {
		return c.ifExists || negated
	}
	any := slices.ContainsFunc(got, func(v string) bool { return c.anyValue(positive, v, a.who) })
	return any != negated
}

// cutNot turns stringnotequals into stringequals, and so on.
func cutNot(operator string) (positive string, negated bool) {
	for _, kind := range []string{"", "string", "arn"} {
		if rest, ok := strings.CutPrefix(operator, kind+"not"); ok {
			return kind + rest, true
		}
	}
	return operator, false
}

func (c condition) anyValue(operator, got string, who caller.Identity) bool {
	if operator == "ipaddress" {
		addr, err := netip.ParseAddr(got)
		return err == nil && slices.ContainsFunc(c.prefixes, func(p netip.Prefix) bool { return p.Contains(addr.Unmap()) })
	}
	return slices.ContainsFunc(c.values, func(want string) bool {
		want, ok := expand(want, who, c.variables)
		if !ok {
			return false
		}
		switch operator {
		case "stringequals":
			return want == got
		case "stringequalsignorecase", "bool":
			return strings.EqualFold(want, got)
		default: // stringlike, arnequals, arnlike
			return glob(want, got)
		}
	})
}
