package efm

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"path"
	"reflect"
	"strings"
	"time"

	"sluice.dev/sluice/internal/service/edge"
)

// file is a file in a form.
type file []byte

// upload is the form that brings a resource: its fields come before the file.
type upload struct {
	Name string            `json:"resourceName"` // that of the file unless it is said
	Type edge.ResourceType `json:"resourceType"` // ASSET unless it is said
	Path string            `json:"resourcePath"`
	File file              `json:"file" required:"true"`
}

// assignment is what the agents of a class have.
type assignment struct {
	Resources []string `json:"resources" required:"true"`
}

// enrolment is for whom to make a token.
type enrolment struct {
	Class     string `json:"agentClass" required:"true"`
	Agent     string `json:"agentId"`   // made unless it is said
	ExpiresIn int64  `json:"expiresIn"` // seconds; an hour unless it is said
}

// command enrols an agent.
type command struct {
	Command string    `json:"command"`
	Token   string    `json:"token"`
	Agent   string    `json:"agentId"`
	Expires time.Time `json:"expires"`
	// Fingerprint is what the agent knows the node by, in the command.
	Fingerprint string `json:"caFingerprint,omitempty"`
}

func (f *front) resources() []operation {
	const tag = "resources"
	s := f.deps.Edge
	one := func(c *call) (edge.Resource, error) { return s.Resource(c.Context(), c.PathValue("id")) }
	return []operation{
		on("GET", "/resource-manager/resources", "List the resources", tag, func(c *call, _ none) ([]edge.Resource, error) { return s.Resources(c.Context()) }),
		on("POST", "/resource-manager/resources/file", "Keep a file for agents", tag, f.upload).created().accepts(maxUpload, reflect.TypeFor[upload](), "multipart/form-data"),
		on("GET", "/resource-manager/resources/{id}", "Describe a resource", tag, func(c *call, _ none) (edge.Resource, error) { return one(c) }),
		on("GET", "/resource-manager/resources/{id}/content", "Return a resource's bytes", tag, func(c *call, _ none) (content, error) {
			r, err := one(c)
			return content{media: "application/octet-stream", file: r.Name, write: func(w io.Writer) error { return s.WriteResource(c.Context(), r, w) }}, err
		}).gives("application/octet-stream"),
		on("DELETE", "/resource-manager/resources/{id}", "Delete a resource that no class has", tag, func(c *call, _ none) (none, error) {
			return none{}, s.DeleteResource(c.Context(), c.PathValue("id"))
		}),
		on("PUT", "/agent-class-resource-manager/{class}/save", "Say which resources the agents of a class have", tag, func(c *call, in assignment) (edge.Class, error) {
			out, err := s.UpdateClass(c.Context(), c.PathValue("class"), edge.ClassChange{Resources: &in.Resources})
			return shown(out), err
		}),
		on("POST", "/agent-deployer/generateCommand", "Make a token, and the command that enrols an agent with it", "agents", func(c *call, in enrolment) (command, error) {
			life, err := seconds("expiresIn", in.ExpiresIn)
			if err != nil {
				return command{}, err
			}
			t, err := s.NewToken(c.Context(), in.Class, in.Agent, life)
			if err != nil {
				return command{}, err
			}
			base := url.URL{Scheme: "http", Host: c.Host, Path: f.cfg.Context + "/api"}
			if c.TLS != nil {
				base.Scheme = "https"
			}
			out := command{Command: "sluice agent enroll --url " + quoted(base.String()) + " --token " + quoted(t.Text), Token: t.Text, Agent: t.Agent, Expires: t.Expires}
			if c.TLS != nil && f.deps.Fingerprint != nil {
				if out.Fingerprint = f.deps.Fingerprint(); out.Fingerprint != "" {
					out.Command += " --ca-fingerprint " + out.Fingerprint
				}
			}
			return out, nil
		}),
	}
}

// quoted is one word of a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// maxField bounds a field of the form.
const maxField = 4096

func (f *front) upload(c *call, _ none) (edge.Resource, error) {
	form, err := c.MultipartReader()
	if err != nil {
		return edge.Resource{}, badRequest.New("the body is no form of several parts")
	}
	r := edge.Resource{Type: edge.Asset}
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return edge.Resource{}, badRequest.Field("file", "file is missing")
		}
		if err != nil {
			return edge.Resource{}, badRequest.Wrap(err, "the form broke off")
		}
		if part.FormName() == "file" {
			if r.Name == "" && part.FileName() != "" {
				r.Name = path.Base(part.FileName())
			}
			out, err := f.deps.Edge.AddResource(c.Context(), r, part)
			if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
				return edge.Resource{}, tooLarge.New("the file is too large")
			}
			return out, err
		}
		value, err := io.ReadAll(io.LimitReader(part, maxField+1))
		if err != nil || len(value) > maxField {
			return edge.Resource{}, badRequest.Field(clip(part.FormName()), "the field is too long, or broke off")
		}
		switch part.FormName() {
		case "resourceName":
			r.Name = string(value)
		case "resourceType":
			r.Type = edge.ResourceType(value)
		case "resourcePath":
			r.Path = string(value)
		default:
			return edge.Resource{}, badRequest.Field(clip(part.FormName()), "there is no field %q here", clip(part.FormName()))
		}
	}
}
