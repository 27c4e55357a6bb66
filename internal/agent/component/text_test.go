package component_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestReplaceText(t *testing.T) {
	for name, c := range map[string]struct {
		properties map[string]string
		in, out    string
		rel        string
	}{
		"regular expression": {map[string]string{"Regular Expression": `(\d+)x`, "Replacement Value": "<$1>"}, "1x\n22x b\n", "<1>\n<22> b\n", "success"},
		"literal":            {map[string]string{"Replacement Strategy": "Literal Replace", "Regular Expression": ".", "Replacement Value": "${who}"}, "a.b", "aweb", "success"},
		"lines":              {map[string]string{"Replacement Strategy": "Append", "Replacement Value": ";"}, "a\r\nb", "a;\r\nb;", "success"},
		"whole":              {map[string]string{"Replacement Strategy": "Prepend", "Replacement Value": "> ", "Evaluation Mode": "Entire text"}, "a\nb", "> a\nb", "success"},
		"always":             {map[string]string{"Replacement Strategy": "Always Replace", "Replacement Value": "x", "Evaluation Mode": "Entire text"}, "a", "x", "success"},
		"too long":           {map[string]string{"Maximum Buffer Size": "2 B"}, "abc", "abc", "failure"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "ReplaceText", c.properties)
			r.send(c.in, "who", "we")
			r.want(got{rel: c.rel, content: c.out})
		})
	}
}

func TestSplitText(t *testing.T) {
	r := newRig(t, "SplitText", map[string]string{"Line Split Count": "2", "Header Line Count": "1"})
	r.send("h\n1\n2\n3\n")
	r.want(got{rel: "splits", content: "h\n1\n2"}, got{rel: "splits", content: "h\n3"}, got{rel: "original", content: "h\n1\n2\n3\n"})
}

func TestRouteOnAttribute(t *testing.T) {
	r := newRig(t, "RouteOnAttribute", map[string]string{"hot": "${temp:toNumber():gt(30)}", "named": "${name:isEmpty():not()}"})
	r.send("1", "temp", "31")
	r.send("2", "temp", "12")
	r.send("3", "temp", "broken", "name", "x")
	r.want(got{rel: "hot", content: "1"}, got{rel: "unmatched", content: "2"}, got{rel: "named", content: "3"})
	r.send("4", "temp", "40", "name", "y")
	r.want(got{rel: "hot", content: "4"}, got{rel: "named", content: "4"})
}

func TestUpdateAttribute(t *testing.T) {
	r := newRig(t, "UpdateAttribute", map[string]string{"a": "${b}", "b": "${a}", "filename": "${filename:append('.txt')}", "Delete Attributes Expression": "tmp.*"})
	r.send("", "a", "1", "b", "2", "filename", "f", "tmp1", "x")
	g := r.next()
	if a := g.attributes; a["a"] != "2" || a["b"] != "1" || a["filename"] != "f.txt" || a["tmp1"] != "" {
		t.Errorf("%v", a)
	}
}

func TestLogAttribute(t *testing.T) {
	r := newRig(t, "LogAttribute", map[string]string{"Log prefix": "seen: ", "Log Payload": "true"})
	r.send("text", "k", "v")
	r.want(got{rel: "success", content: "text"})
	for line := range r.log.lines {
		if line.Message == "seen: flow file" {
			return
		}
	}
}

func TestGenerateFlowFile(t *testing.T) {
	r := newRig(t, "GenerateFlowFile", map[string]string{"File Size": "300 KB", "Data Format": "Binary", "Batch Size": "2", "k": "${literal('v')}"})
	a, b := r.next(), r.next()
	if len(a.content) != 300<<10 || a.content != b.content || a.attributes["k"] != "v" {
		t.Errorf("%d bytes, %v", len(a.content), a.attributes)
	}
}

func TestMergeContent(t *testing.T) {
	t.Run("count", func(t *testing.T) {
		r := newRig(t, "MergeContent", map[string]string{"Minimum Number of Entries": "3", "Maximum Number of Entries": "3", "Demarcator File": ",", "Header File": "[", "Footer File": "]"})
		for _, s := range []string{"1", "2", "3"} {
			r.send(s)
		}
		r.want(got{rel: "merged", content: "[1,2,3]"}, got{rel: "original", content: "1"}, got{rel: "original", content: "2"}, got{rel: "original", content: "3"})
	})
	t.Run("correlation and age", func(t *testing.T) {
		r := newRig(t, "MergeContent", map[string]string{"Minimum Number of Entries": "100", "Max Bin Age": "200 ms", "Correlation Attribute Name": "k"})
		for i, s := range []string{"1", "2", "3"} {
			r.send(s, "k", []string{"a", "b", "a"}[i])
		}
		merged := map[string]bool{}
		for range 5 {
			if g := r.next(); g.rel == "merged" {
				merged[g.content] = true
			}
		}
		if !merged["13"] || !merged["2"] {
			t.Errorf("%v", merged)
		}
	})
	t.Run("size", func(t *testing.T) {
		r := newRig(t, "MergeContent", map[string]string{"Minimum Group Size": "1 GB", "Maximum Group Size": "10 B"})
		r.send(strings.Repeat("x", 8))
		r.send(strings.Repeat("y", 8))
		r.want(got{rel: "merged", content: "xxxxxxxx"}, got{rel: "original", content: "xxxxxxxx"})
	})
	t.Run("what waits in a bin is not lost", func(t *testing.T) {
		r := newRig(t, "MergeContent", map[string]string{"Minimum Number of Entries": "2"})
		r.send("1")
		for r.e.Status().Queues[0].Count == 0 {
		}
		if err := r.e.StopProcessor("it"); err != nil {
			t.Fatal(err)
		}
		if err := r.e.StartProcessor(t.Context(), "it"); err != nil {
			t.Fatal(err)
		}
		r.send("2")
		r.want(got{rel: "merged", content: "12"}, got{rel: "original", content: "1"}, got{rel: "original", content: "2"})
	})
}

// What cannot be merged stays in its queue and is tried again.
func TestAMergeThatCannotBeKeptIsTriedAgain(t *testing.T) {
	r := newRig(t, "MergeContent", map[string]string{"Minimum Number of Entries": "1", "Max Bin Age": "5 ms"})
	r.send("x", "large", strings.Repeat("x", 1<<20-170)) // with what a merge adds it is too large
	failed := 0
	for failed < 2 {
		select {
		case line := <-r.log.lines:
			line.Attrs(func(a slog.Attr) bool {
				if a.Key == "error" && strings.Contains(a.Value.String(), "attributes") {
					failed++
				}
				return true
			})
		case g := <-r.out:
			t.Fatalf("%s: %q came", g.rel, g.content)
		case <-time.After(10 * time.Second):
			t.Fatalf("it failed %d times", failed)
		}
	}
}
