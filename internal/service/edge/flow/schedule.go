package flow

import (
	"net/url"
	"slices"
	"strings"

	"sluice.dev/sluice/internal/service/edge/manifest"
)

func (v *validator) duration(id, field, value string) {
	if !isDuration(value) {
		v.add(id, field, "%q is not a duration such as 30 sec", value)
	}
}

// schedule checks when a processor runs, and how often at a time.
func (v *validator) schedule(p *Processor, c *manifest.Component) {
	strategies := []string{"TIMER_DRIVEN", "CRON_DRIVEN", "EVENT_DRIVEN"}
	if c != nil && len(c.Strategies) > 0 {
		strategies = c.Strategies
	}
	if !slices.Contains(strategies, p.Strategy) {
		v.add(p.ID, "schedulingStrategy", "%q is not one of %s", p.Strategy, strings.Join(strategies, ", "))
	}
	switch p.Strategy {
	case "TIMER_DRIVEN":
		v.duration(p.ID, "schedulingPeriod", p.Period)
	case "CRON_DRIVEN":
		if _, err := ParseCron(p.Period); err != nil {
			v.add(p.ID, "schedulingPeriod", "%q is no schedule such as 0 */5 * * * ?: %v", p.Period, err)
		}
	}
	v.tasks(p.ID, p.Tasks, c != nil && c.Serial)
}

// webAddress reports whether a text is the address of a web server.
func webAddress(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
}
