package awswire

import (
	"fmt"
	"io"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// kind is how a value looks on the wire.
type kind uint8

const (
	structure kind = iota
	list
	mapping
	text
	boolean
	integer
	float
	blob
	timestamp
	upload   // *Body: the streaming body of a request
	download // io.ReadCloser: the streaming body of an answer
)

// location is where in a REST message a member travels. Other protocols have only bodies.
type location uint8

const (
	inBody location = iota
	inHeader
	inPrefix // a map, each entry a header whose name begins with the wire name
	inQuery
	inURI
	inStatus
)

// shape is the plan of one Go type in one position: built once, read by every codec.
type shape struct {
	kind  kind
	typ   reflect.Type
	check *constraint // nil where every value is good

	// structure
	fields  []field
	byWire  map[string]int // index in fields
	payload int            // index of the member that is the whole body, or -1
	bound   bool           // some member travels outside the body

	// list and mapping
	item, key, value             *shape
	itemName, keyName, valueName string // empty where the protocol's own name is meant
	flat                         bool   // this list, as an element of another

	time timeFormat
}

// field is one member of a structure.
type field struct {
	index    int
	name     string // the model's, for messages: the Go name
	wire     string
	ec2      string // the name in an ec2 query
	ns       string // namespace, prefix=uri where it has a prefix
	loc      location
	required bool
	payload  bool
	flat     bool
	attr     bool
	idem     bool
	shape    *shape
}

// plans keeps the plan of every structure type met. It is a table filled on demand: the
// types of a program are fixed, so is its size.
var plans = struct {
	sync.Mutex
	of map[reflect.Type]*shape
}{of: map[reflect.Type]*shape{}}

// planOf returns the plan of a structure type. A type that awsgen would not have written
// panics: that is a defect of the program, found when its handlers are made.
func planOf(t reflect.Type) *shape {
	plans.Lock()
	defer plans.Unlock()
	return structureOf(t)
}

func structureOf(t reflect.Type) *shape {
	if s := plans.of[t]; s != nil {
		return s
	}
	s := &shape{kind: structure, typ: t, payload: -1, byWire: map[string]int{}}
	plans.of[t] = s // before its members: shapes are recursive
	for i := range t.NumField() {
		f := fieldOf(t.Field(i))
		f.index = i
		if f.payload {
			s.payload = len(s.fields)
		}
		s.bound = s.bound || f.loc != inBody || f.payload
		s.byWire[f.wire] = len(s.fields)
		s.fields = append(s.fields, f)
	}
	return s
}

// words are the options of the aws tag, behind the wire name.
var words = map[string]func(*field){
	"required": func(f *field) { f.required = true },
	"payload":  func(f *field) { f.payload = true },
	"header":   func(f *field) { f.loc = inHeader },
	"prefix":   func(f *field) { f.loc = inPrefix },
	"query":    func(f *field) { f.loc = inQuery },
	"uri":      func(f *field) { f.loc = inURI },
	"status":   func(f *field) { f.loc = inStatus },
	"flat":     func(f *field) { f.flat = true },
	"attr":     func(f *field) { f.attr = true },
	"idem":     func(f *field) { f.idem = true },
	"secret":   func(f *field) {},
}

func fieldOf(sf reflect.StructField) field {
	name, options, _ := strings.Cut(sf.Tag.Get("aws"), ",")
	f := field{name: sf.Name, wire: orElse(name, sf.Name), ec2: sf.Tag.Get("ec2"), ns: sf.Tag.Get("ns")}
	secret := false
	for word := range strings.SplitSeq(options, ",") {
		if word == "" {
			continue
		}
		set := words[word]
		if set == nil {
			panic(fmt.Sprintf("awswire: %s: unknown option %q in its aws tag", sf.Name, word))
		}
		set(&f)
		secret = secret || word == "secret"
	}
	f.shape = shapeOf(sf.Type, sf.Tag, "", secret)
	return f
}

var (
	bodyType   = reflect.TypeFor[*Body]()
	readerType = reflect.TypeFor[io.ReadCloser]()
	timeType   = reflect.TypeFor[time.Time]()
	bytesType  = reflect.TypeFor[[]byte]()
)

// shapeOf plans a member's type; prefix leads to the tags of the level at hand.
func shapeOf(t reflect.Type, tag reflect.StructTag, prefix string, secret bool) *shape {
	switch t {
	case bodyType:
		return &shape{kind: upload, typ: t}
	case readerType:
		return &shape{kind: download, typ: t}
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Struct && t != timeType {
		return structureOf(t)
	}
	s := &shape{typ: t, check: constraintOf(tag, prefix, secret), time: timeFormat(tag.Get(prefix + "time"))}
	switch {
	case t == timeType:
		s.kind = timestamp
	case t == bytesType:
		s.kind = blob
	case t.Kind() == reflect.Slice:
		s.kind = list
		s.item = shapeOf(t.Elem(), tag, prefix+"item.", secret)
		s.itemName = tag.Get(prefix + "item")
		s.item.flat = tag.Get(prefix+"item.flat") != ""
	case t.Kind() == reflect.Map && t.Key().Kind() == reflect.String:
		s.kind = mapping
		s.key = shapeOf(t.Key(), tag, prefix+"key.", secret)
		s.value = shapeOf(t.Elem(), tag, prefix+"value.", secret)
		s.keyName, s.valueName = tag.Get(prefix+"key"), tag.Get(prefix+"value")
	case t.Kind() == reflect.String:
		s.kind = text
	case t.Kind() == reflect.Bool:
		s.kind = boolean
	case t.Kind() == reflect.Int64:
		s.kind = integer
	case t.Kind() == reflect.Float64:
		s.kind = float
	default:
		panic(fmt.Sprintf("awswire: no wire form for the type %s", t))
	}
	return s
}

// constraint is what a value must satisfy.
type constraint struct {
	min, max *float64 // of a number, or of a length
	low      string   // min and max as the model writes them
	high     string
	length   bool
	pattern  *regexp.Regexp
	source   string // the pattern as the model writes it
	enum     []string
	secret   bool // the value must not be shown
}

func constraintOf(tag reflect.StructTag, prefix string, secret bool) *constraint {
	c := &constraint{secret: secret}
	limits, length := tag.Lookup(prefix + "len")
	if !length {
		limits = tag.Get(prefix + "range")
	}
	c.length = length
	c.low, c.high, _ = strings.Cut(limits, ",")
	c.min, c.max = number(c.low), number(c.high)
	if p := tag.Get(prefix + "pattern"); p != "" {
		c.pattern, _ = Pattern(p)
		c.source = p
	}
	if e := tag.Get(prefix + "enum"); e != "" {
		c.enum = strings.Split(e, "|")
	}
	if c.min == nil && c.max == nil && c.pattern == nil && c.enum == nil {
		return nil
	}
	return c
}

func number(s string) *float64 {
	if s == "" {
		return nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		panic(fmt.Sprintf("awswire: %q in a tag is not a number", s))
	}
	return &f
}

var javaEscape = regexp.MustCompile(`\\u(10000|10FFFF|[0-9A-Fa-f]{4})`)

// Pattern compiles a pattern of an API model, which must match a whole value. The models are
// written for Java: ok is false for a pattern that package regexp cannot express
// (look-around, more than a thousand repetitions), which then is left to the service.
func Pattern(p string) (re *regexp.Regexp, ok bool) {
	if p == "" {
		return nil, false
	}
	p = strings.ReplaceAll(p, `^(?!\s*$).+`, `.*\S.*`) // not only blanks: the models' one common look-around
	p = javaEscape.ReplaceAllString(p, `\x{$1}`)
	re, err := regexp.Compile(`\A(?:` + p + `)\z`)
	return re, err == nil
}
