// Package config fills a program's Config struct from a YAML file, the environment and
// flags, in that order, and prints the reference of its keys.
//
// A key is the path of yaml tags, data or store.url; its variable is the same in capitals
// with underscores behind SLUICE_, SLUICE_STORE_URL. A key that the struct does not have is
// an error that names it, in the file as in the environment. The doc tag of a field is its
// documentation; there is no other. All nodes of a cluster must agree on a key unless its
// field has the tag scope:"node"; the tag secret:"true" marks what must not be shown.
//
// A struct is a section, whose name its keys begin with. An embedded struct and one with the
// tag yaml:",inline" is part of the section around it: so the packages that the keys are for
// each declare their own. The tag was:"name" of a section or a key says what it was called
// before; that name still works, in a file as in the environment.
package config

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"iter"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/internal/base/fault"
)

// Invalid is the reason of a configuration that cannot be used.
var Invalid = &fault.Reason{Kind: fault.Invalid, Name: "InvalidConfiguration"}

const envPrefix = "SLUICE_"

// Load fills dst, a pointer to a struct that holds the defaults, from the file (if it has
// a name) and from the environment. Variables named in ignore belong to others.
func Load(dst any, file string, environ []string, ignore ...string) error {
	if file != "" {
		if err := loadFile(dst, file); err != nil {
			return err
		}
	}
	fields := map[string]reflect.Value{}
	var names []string
	walk(reflect.ValueOf(dst).Elem(), "", func(key string, v reflect.Value, _ reflect.StructTag) {
		fields[Variable(key)] = v
		names = append(names, Variable(key))
	})
	for was, key := range formerNames(reflect.TypeOf(dst).Elem()) {
		fields[Variable(was)] = fields[Variable(key)]
	}
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) || contains(ignore, name) {
			continue
		}
		v, ok := fields[name]
		if !ok {
			return Invalid.Field(name, "the environment variable %s is no key of the configuration%s", name, Suggest(name, names))
		}
		if err := set(v, value); err != nil {
			return Invalid.Field(name, "%s: %s", name, err)
		}
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

// Variable is the environment variable of a key.
func Variable(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func walk(v reflect.Value, prefix string, visit func(key string, v reflect.Value, tag reflect.StructTag)) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name, inline, ok := keyOf(f)
		switch {
		case !ok:
		case inline:
			walk(v.Field(i), prefix, visit)
		case f.Type.Kind() == reflect.Struct:
			walk(v.Field(i), prefix+name+".", visit)
		default:
			visit(prefix+name, v.Field(i), f.Tag)
		}
	}
}

// keyOf returns the name of a field's key or section; inline fields have none. ok is false for a field that is no key.
func keyOf(f reflect.StructField) (name string, inline, ok bool) {
	name, option, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	inline = option == "inline" || f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct
	return name, inline, inline || name != "" && name != "-"
}

// formerNames maps what keys were called before to what they are called.
func formerNames(t reflect.Type) map[string]string {
	out := map[string]string{}
	var look func(t reflect.Type, was, prefix string)
	look = func(t reflect.Type, was, prefix string) {
		for i := range t.NumField() {
			f := t.Field(i)
			name, inline, ok := keyOf(f)
			if !ok {
				continue
			}
			if inline {
				look(f.Type, was, prefix)
				continue
			}
			before := name
			if former := f.Tag.Get("was"); former != "" {
				before = former
			}
			if f.Type.Kind() == reflect.Struct {
				look(f.Type, was+before+".", prefix+name+".")
			} else if was+before != prefix+name {
				out[was+before] = prefix + name
			}
		}
	}
	look(t, "", "")
	return out
}

// List walks a list that is written with commas; spaces around an entry and empty entries do not count.
func List(s string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for e := range strings.SplitSeq(s, ",") {
			if e = strings.TrimSpace(e); e != "" && !yield(e) {
				return
			}
		}
	}
}

func set(v reflect.Value, s string) error {
	if v.Type() == reflect.TypeFor[time.Duration]() {
		d, err := time.ParseDuration(s)
		if err != nil {
			return fmt.Errorf("%q is not a duration: give a number with a unit, such as 300ms, 10s or 5m", s)
		}
		v.SetInt(int64(d))
		return nil
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", s)
		}
		v.SetBool(b)
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || v.OverflowInt(n) {
			return fmt.Errorf("%q is not a number", s)
		}
		v.SetInt(n)
	case reflect.Float64:
		n, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", s)
		}
		v.SetFloat(n)
	default:
		return fmt.Errorf("a %s cannot be set by a variable", v.Type())
	}
	return nil
}

// Digests returns a digest of each key that all nodes of a cluster must agree on. Those of
// secrets begin with a star: they tell nothing without key, which the nodes share, and can be
// compared by who has the same key.
func Digests(c any, key []byte) map[string]string {
	out := map[string]string{}
	walk(reflect.ValueOf(c).Elem(), "", func(name string, v reflect.Value, tag reflect.StructTag) {
		if tag.Get("scope") == "node" {
			return
		}
		h, star := hmac.New(sha256.New, nil), ""
		if tag.Get("secret") == "true" {
			h, star = hmac.New(sha256.New, key), "*"
		}
		fmt.Fprintf(h, "%s=%v", name, v.Interface())
		out[name] = star + hex.EncodeToString(h.Sum(nil)[:8])
	})
	return out
}

// OwnDigests returns a digest of each key that nodes of a cluster may have their own values of, but of no secret.
func OwnDigests(c any) map[string]string {
	out := map[string]string{}
	walk(reflect.ValueOf(c).Elem(), "", func(name string, v reflect.Value, tag reflect.StructTag) {
		if tag.Get("scope") == "node" && tag.Get("secret") != "true" {
			sum := sha256.Sum256(fmt.Appendf(nil, "%s=%v", name, v.Interface()))
			out[name] = hex.EncodeToString(sum[:8])
		}
	})
	return out
}

// Reference writes the keys of a configuration with their variables, defaults and
// documentation, as Markdown.
func Reference(w io.Writer, defaults any) error {
	type row struct{ key, value, doc string }
	var rows []row
	walk(reflect.ValueOf(defaults).Elem(), "", func(key string, v reflect.Value, tag reflect.StructTag) {
		rows = append(rows, row{key, fmt.Sprint(v.Interface()), tag.Get("doc")})
	})
	sort.Slice(rows, func(i, j int) bool { return rows[i].key < rows[j].key })
	var b bytes.Buffer
	b.WriteString("| key | variable | default | what it is |\n|---|---|---|---|\n")
	for _, r := range rows {
		value := "`" + r.value + "`"
		if r.value == "" {
			value = ""
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s |\n", r.key, Variable(r.key), value, r.doc)
	}
	_, err := w.Write(b.Bytes())
	return err
}
