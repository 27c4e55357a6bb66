package protofile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/bufbuild/protocompile"
	"github.com/bufbuild/protocompile/linker"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"sluice.dev/sluice/internal/service/gateway/plugin/fields"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

const (
	maxFile     = 1 << 20
	maxFiles    = 256
	compileTime = 10 * time.Second
)

// field is the name of Field.
const field = "proto"

// Field describes the field that names the file.
func Field() *schema.Field {
	return &schema.Field{Name: field, Kind: schema.String, Description: "A .proto file on the node, which describes the services.",
		Check: func(v any) string {
			if _, err := Load(v.(string)); err != nil {
				return err.Error()
			}
			return ""
		}}
}

// Of loads the file that a configuration names by Field; nil if it names none.
func Of(c schema.Record) (*File, error) {
	path := fields.String(c, field)
	if path == "" {
		return nil, nil //nolint:nilnil // no file is no error
	}
	return Load(path)
}

// File is a .proto file with everything it imports.
type File struct {
	methods  map[string]*Method // by path: /package.Service/Method
	bindings []*Binding         // in the order of the file
}

// Method is a method of gRPC.
type Method struct {
	Path      string
	In, Out   protoreflect.MessageDescriptor
	Streaming bool // it answers with any number of messages
	types     linker.Resolver
}

// Load reads and compiles a file. Errors name the place and not what stands there.
func Load(path string) (*File, error) {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("cannot read the directory of the .proto file: %w", cause(err))
	}
	defer root.Close()
	opened := 0
	read := func(name string) (io.ReadCloser, error) {
		if src, ok := builtIn[name]; ok {
			return src(), nil
		}
		if opened++; opened > maxFiles {
			return nil, errors.New("too many imports")
		}
		f, err := root.Open(filepath.FromSlash(name))
		if err != nil {
			return nil, cause(err)
		}
		if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > maxFile {
			f.Close()
			return nil, errors.New("not a regular file of at most 1 MiB")
		}
		return f, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), compileTime)
	defer cancel()
	compiler := protocompile.Compiler{MaxParallelism: 1, Resolver: protocompile.WithStandardImports(&protocompile.SourceResolver{Accessor: read})}
	compiled, err := compiler.Compile(ctx, filepath.Base(path))
	if err != nil {
		return nil, fmt.Errorf("cannot compile the .proto file: %w", err)
	}
	out := &File{methods: map[string]*Method{}}
	return out, out.add(compiled[0], linker.ResolverFromFile(compiled[0]), map[string]bool{})
}

// add takes the methods of a file, and of those it imports.
func (f *File) add(d protoreflect.FileDescriptor, types linker.Resolver, seen map[string]bool) error {
	if seen[d.Path()] {
		return nil
	}
	seen[d.Path()] = true
	for i := range d.Services().Len() {
		s := d.Services().Get(i)
		for j := range s.Methods().Len() {
			md := s.Methods().Get(j)
			m := &Method{Path: "/" + string(s.FullName()) + "/" + string(md.Name()), In: md.Input(), Out: md.Output(),
				Streaming: md.IsStreamingServer(), types: types}
			f.methods[m.Path] = m
			bindings, err := bindingsOf(md, m)
			if err != nil {
				return fmt.Errorf("method %s: %w", md.FullName(), err)
			}
			f.bindings = append(f.bindings, bindings...)
		}
	}
	for i := range d.Imports().Len() {
		if err := f.add(d.Imports().Get(i).FileDescriptor, types, seen); err != nil {
			return err
		}
	}
	return nil
}

// cause is an error of a file without its path.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// Method finds a method by its path.
func (f *File) Method(path string) (*Method, bool) {
	m, ok := f.methods[path]
	return m, ok
}

// Encode turns the JSON form of a request into a message.
func (m *Method) Encode(json []byte) ([]byte, error) {
	msg := dynamicpb.NewMessage(m.In)
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true, Resolver: m.types}).Unmarshal(json, msg); err != nil {
		return nil, err
	}
	return proto.Marshal(msg)
}

// Decode turns a message of an answer into its JSON form: fields by their names in the file,
// those that are not set with their defaults.
func (m *Method) Decode(raw []byte) ([]byte, error) {
	msg := dynamicpb.NewMessage(m.Out)
	if err := (proto.UnmarshalOptions{Resolver: m.types}).Unmarshal(raw, msg); err != nil {
		return nil, err
	}
	return protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true, Resolver: m.types}.Marshal(msg)
}
