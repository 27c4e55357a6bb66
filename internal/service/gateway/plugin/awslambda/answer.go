package awslambda

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/callout"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// respond answers the request with what the function returned.
func (in *instance) respond(x *gateway.Exchange, a *callout.Answer) {
	header := callout.Fields(a.Header)
	if in.integration {
		status, own, body, err := unpack(a.Body)
		if err != nil {
			in.log.Error("the function's answer is not one of proxy integration", "err", err)
			out, _ := gateway.EncodeJSON(schema.Record{"message": "Bad Gateway", // strings alone
				"error": "could not JSON decode Lambda function response: " + err.Error()})
			x.Respond(502, out, gateway.Field{Name: "Content-Type", Value: "application/json; charset=utf-8"})
			return
		}
		header = slices.DeleteFunc(header, func(f gateway.Field) bool {
			return slices.ContainsFunc(own, func(o gateway.Field) bool { return gateway.EqualFold(o.Name, f.Name) })
		})
		x.Respond(status, body, append(header, own...)...)
		return
	}
	status, body := a.Status, a.Body
	if in.unhandled != 0 && a.Header.Get("X-Amz-Function-Error") == "Unhandled" {
		status = in.unhandled
	}
	if kind := strings.ToLower(a.Header.Get("Content-Type")); in.legacyNothing && strings.HasPrefix(kind, "application/") && strings.Contains(kind, "json") {
		body = arraysToObjects(body)
	}
	x.Respond(status, body, header...)
}

// unpack reads the answer of a function that answers as to API Gateway.
func unpack(raw []byte) (status int, header []gateway.Field, body []byte, err error) {
	var out struct {
		StatusCode        any            `json:"statusCode"`
		Headers           any            `json:"headers"`
		MultiValueHeaders map[string]any `json:"multiValueHeaders"`
		Body              any            `json:"body"`
		IsBase64Encoded   any            `json:"isBase64Encoded"`
	}
	if json.Unmarshal(raw, &out) != nil {
		return 0, nil, nil, errors.New("not a JSON object of this form")
	}
	switch v := out.StatusCode.(type) {
	case float64:
		status = int(v)
	case string:
		status, _ = strconv.Atoi(v)
	}
	if status < 100 || status > 599 {
		return 0, nil, nil, errors.New("statusCode validation failed")
	}
	heads, ok := out.Headers.(schema.Record)
	if !ok && out.Headers != nil {
		return 0, nil, nil, errors.New("headers must be a table")
	}
	text, ok := out.Body.(string)
	if !ok && out.Body != nil {
		return 0, nil, nil, errors.New("body must be a string")
	}
	body = []byte(text)
	switch encoded := out.IsBase64Encoded.(type) {
	case nil:
	case bool:
		if encoded {
			if body, err = base64.StdEncoding.DecodeString(text); err != nil {
				return 0, nil, nil, errors.New("body must be base64")
			}
		}
	default:
		return 0, nil, nil, errors.New("isBase64Encoded must be a boolean")
	}
	all := schema.Record{}
	maps.Copy(all, heads)
	maps.Copy(all, out.MultiValueHeaders)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		values, many := all[name].([]any)
		if !many {
			values = []any{all[name]}
		}
		for _, v := range values {
			header = append(header, gateway.Field{Name: name, Value: textOf(v)})
		}
	}
	return status, header, body, nil
}

func textOf(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	out, _ := gateway.EncodeJSON(v) // what came as JSON can go as JSON
	return string(out)
}

// arraysToObjects writes {} for every empty array of a JSON text and leaves the rest alone.
func arraysToObjects(text []byte) []byte {
	out := slices.Clone(text)
	quoted := false
	for i := 0; i < len(out); i++ {
		switch c := out[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && c == '[':
			end := i + 1
			for end < len(out) && strings.IndexByte(" \t\r\n", out[end]) >= 0 {
				end++
			}
			if end < len(out) && out[end] == ']' {
				out[i], out[end] = '{', '}'
			}
		}
	}
	return out
}
