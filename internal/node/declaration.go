package node

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/base/config"
	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/declarative"
)

// InvalidFile is a declarative file that was refused, with each thing that is wrong with it.
type InvalidFile struct {
	Name  string
	Lines []string // a problem each, with file and line
}

// Error returns the problems, one per line.
func (e *InvalidFile) Error() string { return strings.Join(e.Lines, "\n") }

// Unwrap lets the configuration's errors be told from others.
func (e *InvalidFile) Unwrap() error { return config.Invalid.New("%s", e.Error()) }

// maxProblems is how many problems of a file are listed.
const maxProblems = 100

// ExplainProblems turns what is wrong with a declarative text into an error with the lines of
// the text; nil where there is nothing.
func ExplainProblems(name string, text []byte, problems []gateway.Problem) error {
	if len(problems) == 0 {
		return nil
	}
	at := declarative.NewLocator(text)
	e := &InvalidFile{Name: name}
	for i, p := range problems {
		if i == maxProblems {
			e.Lines = append(e.Lines, fmt.Sprintf("%s: and %d problems more", name, len(problems)-i))
			break
		}
		place := name
		if line := at.Line(p.Path); line > 0 {
			place += ":" + strconv.Itoa(line)
		}
		e.Lines = append(e.Lines, place+": "+p.String())
	}
	return e
}

// position begins an error of the YAML parser.
var position = regexp.MustCompile(`\[(\d+):(\d+)\] `)

// explain turns an error of a declarative text into one with the text's name and lines.
func explain(g *gateway.Gateway, name string, text []byte, err error) error {
	if err == nil {
		return nil
	}
	if refused, ok := errors.AsType[*gateway.Error](err); ok {
		if told := ExplainProblems(name, text, g.Problems(refused)); told != nil {
			return told
		}
	}
	message, place := err.Error(), name
	if m := position.FindStringSubmatchIndex(message); m != nil {
		place += ":" + message[m[2]:m[3]]
		message = message[:m[0]] + message[m[1]:]
	}
	return &InvalidFile{Name: name, Lines: []string{place + ": " + strings.Join(strings.Fields(message), " ")}}
}

// declare makes a text the whole configuration of a gateway.
func declare(ctx context.Context, g *gateway.Gateway, from string, text []byte, o gateway.ApplyOptions) (records int, err error) {
	doc, err := declarative.Parse(text)
	if err != nil {
		return 0, explain(g, from, text, err)
	}
	d, err := g.Declare(doc)
	if err == nil {
		records = d.Len()
		_, err = g.Apply(ctx, d, o)
	}
	return records, explain(g, from, text, err)
}
