package websession

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
)

// Bounds of a cookie. Browsers keep 4096 bytes with name and attributes; all of the pieces
// must fit into a request's head.
const (
	maxPiece  = 3800
	maxPieces = 5
)

// Cookie is the name and the attributes of a cookie.
type Cookie struct {
	Name, Path, Domain string
	SameSite           string // Strict, Lax or None; anything else leaves it to the browser
	HTTPOnly, Secure   bool
}

// piece is the name of the i-th cookie of a text, from 0.
func (c *Cookie) piece(i int) string {
	if i == 0 {
		return c.Name
	}
	return c.Name + strconv.Itoa(i+1)
}

// read puts the pieces together. The first begins with their number.
func (c *Cookie) read(h *gateway.Header) (text string, ok bool) {
	first, ok := gateway.Cookie(h, c.Name)
	if !ok || first == "" || first[0] < '1' || first[0] > '0'+maxPieces {
		return "", false
	}
	var b strings.Builder
	b.WriteString(first[1:])
	for i := 1; i < int(first[0]-'0'); i++ {
		p, ok := gateway.Cookie(h, c.piece(i))
		if !ok {
			return "", false
		}
		b.WriteString(p)
	}
	return b.String(), true
}

// write tells the client to keep a text, for keep where that is not 0; false where it is
// too long.
func (c *Cookie) write(h *gateway.Header, text string, keep time.Duration) bool {
	n := (len(text) + maxPiece - 1) / maxPiece
	if n > maxPieces {
		return false
	}
	text = strconv.Itoa(n) + text
	for i := range n {
		end := min((i+1)*maxPiece+1, len(text)) // the first piece has the number besides
		from := 0
		if i > 0 {
			from = i*maxPiece + 1
		}
		c.set(h, c.piece(i), text[from:end], keep)
	}
	return true
}

// clear tells the client to forget the pieces it sent; from is the first one.
func (c *Cookie) clear(response, request *gateway.Header, from int) {
	for i := from; i < maxPieces; i++ {
		if _, ok := gateway.Cookie(request, c.piece(i)); ok {
			c.set(response, c.piece(i), "", -1)
		}
	}
}

func (c *Cookie) set(h *gateway.Header, name, value string, keep time.Duration) {
	var b strings.Builder
	b.WriteString(name + "=" + value)
	add := func(attribute, value string) {
		if value != "" {
			b.WriteString("; " + attribute + value)
		}
	}
	add("Path=", c.Path)
	add("Domain=", c.Domain)
	switch {
	case keep < 0:
		b.WriteString("; Expires=Thu, 01 Jan 1970 00:00:01 GMT; Max-Age=0")
	case keep > 0:
		add("Max-Age=", strconv.FormatInt(int64(keep/time.Second), 10))
	}
	if c.SameSite == "Strict" || c.SameSite == "Lax" || c.SameSite == "None" {
		add("SameSite=", c.SameSite)
	}
	if c.Secure {
		b.WriteString("; Secure")
	}
	if c.HTTPOnly {
		b.WriteString("; HttpOnly")
	}
	h.Add("Set-Cookie", b.String())
}

// strip takes the pieces out of the request.
func (c *Cookie) strip(h *gateway.Header) {
	names := make([]string, maxPieces)
	for i := range names {
		names[i] = c.piece(i)
	}
	var kept []string
	changed := false
	for _, f := range h.Fields() {
		if !gateway.EqualFold(f.Name, "Cookie") {
			continue
		}
		for part := range strings.SplitSeq(f.Value, ";") {
			part = strings.TrimSpace(part)
			name, _, _ := strings.Cut(part, "=")
			if slices.Contains(names, name) {
				changed = true
			} else if part != "" {
				kept = append(kept, part)
			}
		}
	}
	switch {
	case !changed:
	case len(kept) == 0:
		h.Del("Cookie")
	default:
		h.Set("Cookie", strings.Join(kept, "; "))
	}
}
