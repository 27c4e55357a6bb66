package responseratelimiting_test

import (
	"testing"

	"sluice.dev/sluice/internal/service/gateway"
	"sluice.dev/sluice/internal/service/gateway/gatewaytest"
	"sluice.dev/sluice/internal/service/gateway/plugin/responseratelimiting"
	"sluice.dev/sluice/internal/service/gateway/schema"
)

func TestResponseRateLimiting(t *testing.T) {
	for _, policy := range []string{"local", "cluster"} {
		g := gatewaytest.New(t, []gateway.Plugin{responseratelimiting.New()})
		gatewaytest.Route(t, g)
		gatewaytest.Create(t, g, "plugins", schema.Record{"name": "response-ratelimiting", "config": schema.Record{
			"policy": policy, "block_on_first_violation": true,
			"limits": schema.Record{"videos": schema.Record{"year": 5.0}, "images": schema.Record{"month": 100.0, "year": 1000.0}},
		}})
		costs := func(header string) gatewaytest.Result {
			return gatewaytest.Do(g, gatewaytest.Request{Answer: []string{"X-Kong-Limit", header}, AnswerBody: "film"})
		}
		got := costs("videos=2, images, other=7, images=x")
		for name, want := range map[string]string{
			"X-RateLimit-Limit-videos-Year": "5", "X-RateLimit-Remaining-videos-Year": "3",
			"X-RateLimit-Remaining-images-Month": "99", "X-RateLimit-Remaining-images-Year": "999", "X-Kong-Limit": "",
		} {
			if got.Header.Get(name) != want {
				t.Errorf("%s: %s = %q, want %q", policy, name, got.Header.Get(name), want)
			}
		}
		if got.Answered != 200 || got.Body != "film" || got.Upstream.Get("X-RateLimit-Remaining-videos") != "5" {
			t.Errorf("%s: %+v", policy, got)
		}
		if over := costs("videos=4"); over.Answered != 429 || over.Body != "" || over.Header.Get("X-RateLimit-Remaining-videos-Year") != "0" ||
			over.Upstream.Get("X-RateLimit-Remaining-videos") != "3" {
			t.Errorf("%s: %+v %v", policy, over, over.Header.Fields())
		}
		if blocked := costs(""); blocked.Status != 429 || !gatewaytest.Says(blocked, "API rate limit exceeded for 'videos'") {
			t.Errorf("%s: %+v", policy, blocked)
		}
		e, _ := g.Entity("plugins")
		for _, bad := range []schema.Record{{}, {"limits": schema.Record{}}, {"limits": schema.Record{"a": schema.Record{}}},
			{"limits": schema.Record{"a": schema.Record{"second": 2.0, "minute": 1.0}}}, {"limits": schema.Record{"a": schema.Record{"day": 0.0}}}} {
			if _, err := g.Create(t.Context(), e, schema.Record{"name": "response-ratelimiting", "config": bad}); err == nil {
				t.Errorf("%v is accepted", bad)
			}
		}
	}
}
