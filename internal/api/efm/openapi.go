package efm

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/internal/service/edge"
	"sluice.dev/sluice/internal/service/edge/flow"
	"sluice.dev/sluice/internal/service/edge/manifest"
)

// object is an object of JSON.
type object = map[string]any

// failure is the form of errors, which package console writes.
type failure struct {
	Error reason `json:"error"`
}

type reason struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Field   string `json:"field,omitempty"`
}

// document writes the table as OpenAPI 3.0 (spec.openapis.org/oas/v3.0.3).
func document(base string, table []operation) ([]byte, error) {
	s := &schemas{made: object{}}
	failed := func(about string) object {
		return object{"description": about, "content": object{jsonType: object{"schema": s.of(reflect.TypeFor[failure](), false)}}}
	}
	paths := object{}
	for _, o := range table {
		responses := object{"default": failed("Another error")}
		for status, about := range o.failures() {
			responses[status] = failed(about)
		}
		good := object{"description": "Done"}
		if o.out != nil {
			schema := object{}
			switch {
			case o.media != jsonType:
				schema = object{"type": "string", "format": "binary"}
			case o.out.Kind() != reflect.Interface:
				schema = s.of(o.out, false)
			}
			good["content"] = object{o.media: object{"schema": schema}}
		}
		responses[strconv.Itoa(o.status)] = good
		op := object{"operationId": o.id(), "summary": o.summary, "tags": []string{o.tag}, "responses": responses}
		if p := o.parameters(); len(p) > 0 {
			op["parameters"] = p
		}
		if len(o.takes) > 0 {
			bodies := object{}
			for _, media := range o.takes {
				schema := object{} // a text of a form of its own
				if o.in != nil {
					schema = s.of(o.in, true)
				}
				bodies[media] = object{"schema": schema}
			}
			op["requestBody"] = object{"required": true, "content": bodies}
		}
		if paths[o.path] == nil {
			paths[o.path] = object{}
		}
		paths[o.path].(object)[strings.ToLower(o.method)] = op
	}
	return json.MarshalIndent(object{
		"openapi": "3.0.3",
		"info":    object{"title": "Sluice edge API", "version": "1", "description": "Agents at the edge: their classes, flows and operations."},
		"servers": []object{{"url": base}},
		"paths":   paths,
		"components": object{"schemas": s.made, "securitySchemes": object{
			"accessKey": object{"type": "http", "scheme": "basic", "description": "The id of an access key and its secret"}}},
		"security": []object{{"accessKey": []string{}}},
	}, "", "  ")
}

// failures are the errors that an operation of its kind can answer with.
func (o operation) failures() map[string]string {
	out := map[string]string{"400": "The request is wrong; field names what", "401": "Nobody known sends it", "403": "The caller may not do this",
		"500": "A defect, which is logged", "503": "A part is not there now; the same request may succeed later"}
	if strings.Contains(o.path, "{") || o.in != nil || len(o.query) > 0 {
		out["404"] = "Something that is named does not exist"
	}
	if o.method != "GET" {
		out["409"] = "The state does not permit it, or the revision is another"
		out["413"] = "The body is too large"
		out["429"] = "A limit is reached"
	}
	return out
}

func (o operation) parameters() []object {
	var out []object
	for _, name := range o.pathParameters() {
		out = append(out, object{"name": name, "in": "path", "required": true, "schema": object{"type": "string"}})
	}
	for _, p := range o.query {
		schema := object{"type": "string"}
		if p.whole {
			schema = object{"type": "integer", "format": "int64"}
		}
		if len(p.values) > 0 {
			schema["enum"] = p.values
		}
		out = append(out, object{"name": p.name, "in": "query", "required": p.required, "description": p.about, "schema": schema})
	}
	return out
}

// values are what texts of a type can be.
var values = map[reflect.Type][]string{
	reflect.TypeFor[edge.State]():        {string(edge.Queued), string(edge.Deployed), string(edge.Done), string(edge.Failed), string(edge.Cancelled)},
	reflect.TypeFor[edge.Presence]():     {string(edge.Online), string(edge.Missing)},
	reflect.TypeFor[edge.RolloutState](): {string(edge.Running), string(edge.Paused), string(edge.Completed), string(edge.RolledBack)},
	reflect.TypeFor[edge.ResourceType](): {string(edge.Asset), string(edge.Extension)},
	reflect.TypeFor[flow.Kind](): {string(flow.KindProcessor), string(flow.KindConnection), string(flow.KindService), string(flow.KindFunnel), string(flow.KindInput), string(flow.KindOutput),
		string(flow.KindGroup), string(flow.KindRemote), string(flow.KindContext), string(flow.KindRemoteInput), string(flow.KindRemoteOutput)},
	reflect.TypeFor[manifest.Kind](): {string(manifest.Processor), string(manifest.ControllerService), string(manifest.ReportingTask), string(manifest.ParameterProvider),
		string(manifest.FlowAnalysisRule), string(manifest.FlowRegistryClient)},
}

// schemas are those of the document, by name.
type schemas struct{ made object }

// of returns the schema of a type. What is taken need not have all members, and may say null
// where a value goes back to what it is by itself.
func (s *schemas) of(t reflect.Type, input bool) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t == reflect.TypeFor[json.RawMessage]():
		return object{}
	case t == reflect.TypeFor[file]():
		return object{"type": "string", "format": "binary"}
	}
	switch t.Kind() {
	case reflect.Pointer:
		out := s.of(t.Elem(), input)
		if out["$ref"] == nil {
			out["nullable"] = true
		}
		return out
	case reflect.Struct:
		return s.structure(t, input)
	case reflect.Slice:
		return object{"type": "array", "items": s.element(t.Elem(), input), "nullable": true}
	case reflect.Map:
		item := s.element(t.Elem(), input)
		if input && item["$ref"] == nil {
			item["nullable"] = true
		}
		return object{"type": "object", "additionalProperties": item, "nullable": true}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer", "format": "int64"}
	case reflect.Uint64:
		return object{"type": "integer", "minimum": 0}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.String:
		out := object{"type": "string"}
		// What a request may say is the service's to check, and to explain.
		if v := values[t]; v != nil && !input {
			out["enum"] = v
		}
		return out
	}
	return object{}
}

// element is the schema of what a list or a map holds, which is not null.
func (s *schemas) element(t reflect.Type, input bool) object {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return s.of(t, input)
}

// structure puts a struct's schema under its name and returns a reference to it.
func (s *schemas) structure(t reflect.Type, input bool) object {
	name := t.Name()
	if generic, of, ok := strings.Cut(strings.TrimSuffix(name, "]"), "["); ok { // edited[…/flow.Port]
		name = generic + of[strings.LastIndexByte(of, '.')+1:]
	}
	name = strings.ToUpper(name[:1]) + name[1:]
	if strings.HasSuffix(t.PkgPath(), "/manifest") {
		name = "Manifest" + name
	}
	if input {
		name += "Input"
	}
	ref := object{"$ref": "#/components/schemas/" + name}
	if s.made[name] != nil {
		return ref
	}
	members := object{}
	schema := object{"type": "object", "additionalProperties": false, "properties": members}
	s.made[name] = schema // before its members, one of which may be of the type
	var required []string
	for _, f := range reflect.VisibleFields(t) {
		member := memberName(f)
		if member == "" || member == "-" {
			continue
		}
		members[member] = s.of(f.Type, input)
		tag := f.Tag.Get("json")
		if input && f.Tag.Get("required") != "" || !input && !strings.Contains(tag, ",omitempty") && !strings.Contains(tag, ",omitzero") {
			required = append(required, member)
		}
	}
	if len(required) > 0 {
		schema["required"] = required
	}
	return ref
}
