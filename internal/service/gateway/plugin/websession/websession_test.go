package websession_test

import (
	"bytes"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/websession"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

// holder is a plugin that keeps what it is given in a session.
type holder struct {
	keeper *websession.Keeper
	keep   []byte // where not nil
	got    []byte
	failed error
}

type key struct{}

func (h *holder) Access(x *gateway.Exchange) {
	s := h.keeper.Open(x)
	h.got = nil
	if s != nil {
		h.got = bytes.Clone(s.Data())
	}
	switch {
	case h.keep != nil && s != nil:
		s.Replace("x", h.keep)
	case h.keep != nil:
		s = h.keeper.Start("x", h.keep)
	}
	x.Put(key{}, s)
}

func (h *holder) HeaderFilter(x *gateway.Exchange) {
	if s, _ := x.Value(key{}).(*websession.Session); s != nil {
		h.failed = h.keeper.Write(x, s)
	}
}

func setup(t testing.TB) (*holder, func(cookie string) gatewaytest.Result) {
	h := &holder{}
	kind := gateway.Plugin{Name: "holder", Config: &schema.Field{}, Entities: websession.Entities(),
		New: func(_ schema.Record, env gateway.Env) (any, error) {
			var err error
			h.keeper, err = websession.NewKeeper(websession.Config{Cookie: websession.Cookie{Name: "s"}, Secret: rand.Text(),
				Timeouts: websession.Timeouts{Rolling: time.Hour}, Clock: env.Clock, Directory: env.Directory, Records: env.Records})
			return h, err
		}}
	g := gatewaytest.New(t, []gateway.Plugin{kind})
	gatewaytest.Route(t, g)
	gatewaytest.Create(t, g, "plugins", schema.Record{"name": "holder"})
	return h, func(cookie string) gatewaytest.Result {
		r := gatewaytest.Request{}
		if cookie != "" {
			r.Header = []string{"Cookie", cookie}
		}
		return gatewaytest.Do(g, r)
	}
}

// cookies returns what a browser sends after an answer, and how many it was told to forget.
func cookies(r gatewaytest.Result) (all string, forgotten int) {
	var kept []string
	for _, f := range r.Header.Fields() {
		if f.Name != "Set-Cookie" {
			continue
		}
		if strings.Contains(f.Value, "Max-Age=0") {
			forgotten++
			continue
		}
		if len(f.Value) > 4096 {
			kept = append(kept, "too-long=1")
		}
		pair, _, _ := strings.Cut(f.Value, ";")
		kept = append(kept, pair)
	}
	return strings.Join(kept, "; "), forgotten
}

func TestPieces(t *testing.T) {
	h, ask := setup(t)
	before := ""
	for _, size := range []int{10, 2700, 2800, 2850, 5600, 5700, 9000, 13_900, 100, 9000, 0} {
		h.keep = make([]byte, size)
		rand.Read(h.keep)
		r := ask(before)
		if h.failed != nil {
			t.Fatalf("%d: %v", size, h.failed)
		}
		all, forgotten := cookies(r)
		if strings.Contains(all, "too-long") {
			t.Errorf("%d bytes: a cookie is too long", size)
		}
		if gone := strings.Count(before, "=") - strings.Count(all, "="); forgotten != max(gone, 0) {
			t.Errorf("%d bytes: %d pieces are forgotten, not %d", size, forgotten, gone)
		}
		want := h.keep
		h.keep = nil
		if ask("a=b; " + all); !bytes.Equal(h.got, want) {
			t.Fatalf("%d bytes do not come back: %d", size, len(h.got))
		}
		before = all
	}
	h.keep = make([]byte, 20_000)
	if r := ask(""); h.failed == nil || r.Header.Get("Set-Cookie") != "" {
		t.Error("too much is kept")
	}
}

func FuzzCookie(f *testing.F) {
	h, ask := setup(f)
	h.keep = []byte("data")
	good, _ := cookies(ask(""))
	h.keep = nil
	f.Add(good)
	f.Add("s=2" + good[3:] + "; s2=AAAA")
	f.Add("s=1; s=; =; ;;s2")
	f.Fuzz(func(t *testing.T, cookie string) {
		ask(cookie)
		if h.got != nil && !strings.Contains(cookie, good[3:]) {
			t.Errorf("%q opens", cookie)
		}
	})
}
