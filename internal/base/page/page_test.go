package page_test

import (
	"testing"

	"sluice.dev/sluice/internal/base/page"
)

func TestTokensAreBoundToTheirCall(t *testing.T) {
	tokens, err := page.New([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	other, err := page.New([32]byte{2})
	if err != nil {
		t.Fatal(err)
	}
	token, err := tokens.Seal("list a", "after-this")
	if err != nil {
		t.Fatal(err)
	}
	var got string
	if err := tokens.Open("list a", token, &got); err != nil || got != "after-this" {
		t.Fatalf("%q, %v", got, err)
	}
	for name, open := range map[string]func() error{
		"another call":   func() error { return tokens.Open("list b", token, &got) },
		"another key":    func() error { return other.Open("list a", token, &got) },
		"cut short":      func() error { return tokens.Open("list a", token[:len(token)-2], &got) },
		"empty":          func() error { return tokens.Open("list a", "", &got) },
		"not a token":    func() error { return tokens.Open("list a", "!!", &got) },
		"another's type": func() error { var n int; return tokens.Open("list a", token, &n) },
	} {
		if err := open(); !page.BadToken.Is(err) {
			t.Errorf("%s: %v, want BadToken", name, err)
		}
	}
}

// A token is an argument of command line clients, and those take what starts with a dash for
// an option. One in 64 did before tokens began with their version.
func TestTokensDoNotLookLikeOptions(t *testing.T) {
	tokens, err := page.New([32]byte{1})
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if token, err := tokens.Seal("list", 1); err != nil || token[0] == '-' {
			t.Fatalf("%q, %v", token, err)
		}
	}
}
