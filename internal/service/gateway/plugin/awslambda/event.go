package awslambda

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"strings"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// Lambda takes events of 6 MB; larger bodies than largeBody are left out where the
// configuration says so.
const (
	maxBody   = 6 << 20
	largeBody = 1 << 20
)

// event makes the JSON the function gets.
type event struct {
	log                        *slog.Logger
	method, uri, headers, body bool
	gateway                    bool
	skipLarge, base64          bool
}

func newEvent(c schema.Record, env gateway.Env) event {
	return event{log: env.Log, method: fields.Bool(c, "forward_request_method"), uri: fields.Bool(c, "forward_request_uri"),
		headers: fields.Bool(c, "forward_request_headers"), body: fields.Bool(c, "forward_request_body"),
		gateway:   fields.Bool(c, "awsgateway_compatible"),
		skipLarge: fields.Bool(c, "skip_large_bodies"), base64: fields.Bool(c, "base64_encode_body")}
}

func (e *event) of(x *gateway.Exchange) ([]byte, error) {
	r := &x.Request
	query, err := url.ParseQuery(r.RawQuery)
	if err != nil && len(query) == 0 {
		query = url.Values{}
	}
	out := schema.Record{}
	switch {
	case e.gateway:
		err = e.asGateway(x, query, out)
	case e.method || e.uri || e.headers || e.body:
		err = nil
		if e.method {
			out["request_method"] = r.Method
		}
		if e.headers {
			out["request_headers"] = single(headers(r))
		}
		if e.uri {
			out["request_uri"] = string(gateway.AppendTarget(nil, r.Path, r.RawQuery, r.HasQuery))
			out["request_uri_args"] = single(query)
		}
		if e.body {
			err = e.withBody(x, out)
		}
	default:
		maps.Copy(out, single(query))
		var args schema.Record
		if _, args, _, err = e.read(x); err == nil {
			maps.Copy(out, args)
		}
	}
	if err != nil {
		return nil, err
	}
	return gateway.EncodeJSON(out)
}

// read returns the body, and its arguments where it is a form or JSON.
func (e *event) read(x *gateway.Exchange) (body []byte, args schema.Record, known bool, err error) {
	limit := maxBody
	if e.skipLarge {
		limit = largeBody
	}
	body, err = x.Body(limit)
	if e.skipLarge && errors.Is(err, gateway.ErrBodyTooLarge) {
		e.log.Error("a request's body is too large for the function and was left out")
		return nil, schema.Record{}, false, nil
	}
	if err != nil {
		return nil, nil, false, err
	}
	kind, _, _ := strings.Cut(strings.ToLower(x.Request.Header.Get("Content-Type")), ";")
	args = schema.Record{}
	switch strings.TrimSpace(kind) {
	case "application/x-www-form-urlencoded":
		if form, err := url.ParseQuery(string(body)); err == nil {
			args = single(form)
		}
		return body, args, true, nil
	case "application/json":
		_ = json.Unmarshal(body, &args) // what is no object has no arguments
		if args == nil {
			args = schema.Record{}
		}
		return body, args, true, nil
	}
	return body, args, false, nil
}

// rawKinds are types of bodies that are text as they are.
var rawKinds = map[string]bool{"text/plain": true, "text/html": true, "application/xml": true, "text/xml": true, "application/soap+xml": true}

func (e *event) withBody(x *gateway.Exchange, out schema.Record) error {
	body, args, known, err := e.read(x)
	if err != nil {
		return err
	}
	out["request_body"], out["request_body_args"] = string(body), args
	if !known && e.base64 && !rawKinds[x.Request.Header.Get("Content-Type")] {
		out["request_body"], out["request_body_base64"] = base64.StdEncoding.EncodeToString(body), true
	}
	return nil
}

// asGateway is the event of Amazon API Gateway's proxy integration, version 1.0.
func (e *event) asGateway(x *gateway.Exchange, query url.Values, out schema.Record) error {
	r := &x.Request
	body, _, _, err := e.read(x)
	if err != nil {
		return err
	}
	heads := headers(r)
	params := schema.Record{}
	names, values := x.Match().Captures(r.Path)
	for i, name := range names {
		if strings.Trim(name, "0123456789") != "" {
			params[name] = values[i]
		}
	}
	resource := r.Path
	if route := x.Route(); route != nil && x.Match().Prefix != "" {
		resource = x.Match().Prefix
	}
	start := x.Times.Start
	prefix, _, _ := strings.Cut(r.Host, ".")
	maps.Copy(out, schema.Record{
		"version": "1.0", "resource": resource, "path": x.Upstream.Path, "httpMethod": r.Method,
		"headers": first(heads), "multiValueHeaders": heads, "pathParameters": params,
		"queryStringParameters": first(query), "multiValueQueryStringParameters": query,
		"body": string(body), "isBase64Encoded": false,
		"requestContext": schema.Record{
			"path": x.Upstream.Path, "protocol": fmt.Sprintf("HTTP/%d.%d", r.Proto, r.Minor), "httpMethod": r.Method,
			"domainName": r.Host, "domainPrefix": prefix, "resourcePath": x.Upstream.Path,
			"identity":  schema.Record{"sourceIp": x.ClientIP(), "userAgent": r.Header.Get("User-Agent")},
			"requestId": x.ID(), "requestTime": start.Format("02/Jan/2006:15:04:05 -0700"), "requestTimeEpoch": start.UnixMilli(),
		},
	})
	if len(body) > 0 && e.base64 {
		out["body"], out["isBase64Encoded"] = base64.StdEncoding.EncodeToString(body), true
	}
	return nil
}

// headers are a request's, by lower-case name.
func headers(r *gateway.Request) map[string][]string {
	out := map[string][]string{"host": {r.Authority}}
	for _, f := range r.Header.Fields() {
		name := strings.ToLower(f.Name)
		out[name] = append(out[name], f.Value)
	}
	return out
}

// single shows what has one value as that and what has several as a list.
func single(values map[string][]string) schema.Record {
	out := schema.Record{}
	for name, list := range values {
		if len(list) == 1 {
			out[name] = list[0]
		} else {
			out[name] = list
		}
	}
	return out
}

func first(values map[string][]string) schema.Record {
	out := schema.Record{}
	for name, list := range values {
		out[name] = list[0]
	}
	return out
}
