package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Model is one service-2.json.
type Model struct {
	Metadata   Metadata              `json:"metadata"`
	Operations map[string]*Operation `json:"operations"`
	Shapes     map[string]*Shape     `json:"shapes"`
}

// Metadata is the service as a whole.
type Metadata struct {
	APIVersion      string    `json:"apiVersion"`
	EndpointPrefix  string    `json:"endpointPrefix"`
	SigningName     string    `json:"signingName"`
	JSONVersion     string    `json:"jsonVersion"`
	Protocol        string    `json:"protocol"`
	Protocols       []string  `json:"protocols"`
	TargetPrefix    string    `json:"targetPrefix"`
	XMLNamespace    Namespace `json:"xmlNamespace"`
	QueryCompatible *struct{} `json:"awsQueryCompatible"`
}

// Operation is one operation of the service.
type Operation struct {
	Name string `json:"name"`
	HTTP struct {
		Method       string `json:"method"`
		RequestURI   string `json:"requestUri"`
		ResponseCode int    `json:"responseCode"`
	} `json:"http"`
	Input    *Ref `json:"input"`
	Output   *Ref `json:"output"`
	Checksum struct {
		Required bool `json:"requestChecksumRequired"`
	} `json:"httpChecksum"`
	Endpoint struct {
		HostPrefix string `json:"hostPrefix"`
	} `json:"endpoint"`
}

// Traits are what both a shape and a use of it may say; the use wins.
type Traits struct {
	Location        string    `json:"location"`
	LocationName    string    `json:"locationName"`
	QueryName       string    `json:"queryName"`
	ResultWrapper   string    `json:"resultWrapper"`
	Flattened       bool      `json:"flattened"`
	XMLAttribute    bool      `json:"xmlAttribute"`
	XMLNamespace    Namespace `json:"xmlNamespace"`
	TimestampFormat string    `json:"timestampFormat"`
	Streaming       bool      `json:"streaming"`
	IdempotencyTok  bool      `json:"idempotencyToken"`
	JSONValue       bool      `json:"jsonvalue"`
	Sensitive       bool      `json:"sensitive"`
}

// Ref is a use of a shape.
type Ref struct {
	Shape string `json:"shape"`
	Traits
}

// Shape is one named type of the model.
type Shape struct {
	Type string `json:"type"`
	Traits
	Members     Members      `json:"members"`
	Required    []string     `json:"required"`
	Payload     string       `json:"payload"`
	Member      *Ref         `json:"member"`
	Key         *Ref         `json:"key"`
	Value       *Ref         `json:"value"`
	Min         *json.Number `json:"min"`
	Max         *json.Number `json:"max"`
	Pattern     string       `json:"pattern"`
	Enum        []string     `json:"enum"`
	EventStream bool         `json:"eventstream"`
	Document    bool         `json:"document"`
}

// Members are a structure's members in the model's order.
type Members []Member

// Member is one member of a structure.
type Member struct {
	Name string
	Ref
}

// UnmarshalJSON keeps the order in which the model lists the members.
func (m *Members) UnmarshalJSON(b []byte) error {
	var refs map[string]Ref
	if err := json.Unmarshal(b, &refs); err != nil {
		return err
	}
	names, err := keys(b)
	if err != nil {
		return err
	}
	for _, n := range names {
		*m = append(*m, Member{n, refs[n]})
	}
	return nil
}

// Namespace is an XML namespace; the model writes it as a string or as an object.
type Namespace struct {
	Prefix, URI string
}

// UnmarshalJSON reads both forms.
func (n *Namespace) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &n.URI)
	}
	var o struct {
		Prefix string `json:"prefix"`
		URI    string `json:"uri"`
	}
	err := json.Unmarshal(b, &o)
	n.Prefix, n.URI = o.Prefix, o.URI
	return err
}

// Parse reads a model and checks that every reference leads somewhere.
func Parse(b []byte) (*Model, error) {
	m := new(Model)
	if err := json.Unmarshal(b, m); err != nil {
		return nil, fmt.Errorf("model: %w", err)
	}
	return m, m.check()
}

func (m *Model) check() error {
	var errs []error
	ref := func(from string, r *Ref) {
		if r != nil && m.Shapes[r.Shape] == nil {
			errs = append(errs, fmt.Errorf("model: %s names the shape %q, which is not there", from, r.Shape))
		}
	}
	for name, o := range m.Operations {
		ref(name, o.Input)
		ref(name, o.Output)
	}
	for name, s := range m.Shapes {
		ref(name, s.Member)
		ref(name, s.Key)
		ref(name, s.Value)
		for i := range s.Members {
			ref(name+"."+s.Members[i].Name, &s.Members[i].Ref)
		}
	}
	return errors.Join(errs...)
}

// Traits returns the traits of r over those of its shape.
func (m *Model) Traits(r Ref) Traits {
	t, s := r.Traits, m.Shapes[r.Shape].Traits
	pick := func(a *string, b string) {
		if *a == "" {
			*a = b
		}
	}
	pick(&t.Location, s.Location)
	pick(&t.LocationName, s.LocationName)
	pick(&t.QueryName, s.QueryName)
	pick(&t.TimestampFormat, s.TimestampFormat)
	if t.XMLNamespace.URI == "" {
		t.XMLNamespace = s.XMLNamespace
	}
	t.Flattened = t.Flattened || s.Flattened
	t.XMLAttribute = t.XMLAttribute || s.XMLAttribute
	t.Streaming = t.Streaming || s.Streaming
	t.IdempotencyTok = t.IdempotencyTok || s.IdempotencyTok
	t.JSONValue = t.JSONValue || s.JSONValue
	t.Sensitive = t.Sensitive || s.Sensitive
	return t
}

// keys returns the keys of a JSON object in order.
func keys(b []byte) ([]string, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	var out []string
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		out = append(out, t.(string))
		var skip json.RawMessage
		if err := d.Decode(&skip); err != nil {
			return nil, err
		}
	}
	return out, nil
}
