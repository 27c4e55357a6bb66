package flow

import (
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/service/edge/manifest"
)

// period is a duration as both kinds of agents read it; size is an amount of data.
var (
	period = regexp.MustCompile(`(?i)^\s*\d+(\.\d+)?\s*(ns|nanos?|nanoseconds?|ms|millis?|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?|w|wks?|weeks?)\s*$`)
	size   = regexp.MustCompile(`(?i)^\s*\d+(\.\d+)?\s*(B|KB|MB|GB|TB)\s*$`)
)

func (v *validator) duration(id, field, value string) {
	if !period.MatchString(value) {
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
		if err := cron(p.Period); err != "" {
			v.add(p.ID, "schedulingPeriod", "%q is no schedule such as 0 */5 * * * ?: %s", p.Period, err)
		}
	}
	v.tasks(p.ID, p.Tasks, c != nil && c.Serial)
}

// cronFields are the fields of a schedule of Quartz, which both kinds of agents use; the
// last, the year, may be left out.
var cronFields = []struct {
	name      string
	low, high int
	words     []string // of the values from low on
	day       bool     // ?, L, W and # have a meaning
}{
	{"seconds", 0, 59, nil, false},
	{"minutes", 0, 59, nil, false},
	{"hours", 0, 23, nil, false},
	{"day of the month", 1, 31, nil, true},
	{"month", 1, 12, strings.Fields("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC"), false},
	{"day of the week", 0, 7, strings.Fields("SUN MON TUE WED THU FRI SAT SUN"), true},
	{"year", 1970, 2199, nil, false},
}

// cron says what is wrong with a schedule; empty for nothing.
func cron(schedule string) string {
	fields := strings.Fields(schedule)
	if n := len(fields); n != 6 && n != 7 {
		return "it has " + strconv.Itoa(n) + " fields, not 6 or 7"
	}
	for i, text := range fields {
		f := cronFields[i]
		for part := range strings.SplitSeq(strings.ToUpper(text), ",") {
			if !cronPart(part, f.low, f.high, f.words, f.day) {
				return strconv.Quote(part) + " is wrong for the " + f.name
			}
		}
	}
	return ""
}

// cronPart reports whether a field may be, or have in a list, the part.
func cronPart(part string, low, high int, words []string, day bool) bool {
	number := func(s string) (int, bool) {
		if i := slices.Index(words, s); i >= 0 {
			return low + i, true
		}
		n, err := strconv.Atoi(s)
		return n, err == nil && n >= low && n <= high && !strings.HasPrefix(s, "+")
	}
	if day {
		if part == "?" || part == "L" || part == "LW" {
			return true
		}
		if before, nth, ok := strings.Cut(part, "#"); ok {
			n, err := strconv.Atoi(nth)
			_, fine := number(before)
			return fine && err == nil && n >= 1 && n <= 5
		}
		if last, ok := strings.CutPrefix(part, "L-"); ok {
			_, fine := number(last)
			return fine
		}
		part = strings.TrimSuffix(strings.TrimSuffix(part, "W"), "L")
	}
	span, step, stepped := strings.Cut(part, "/")
	if stepped {
		if n, err := strconv.Atoi(step); err != nil || n < 1 || n > high {
			return false
		}
	}
	if span == "*" {
		return true
	}
	from, to, ranged := strings.Cut(span, "-")
	_, fine := number(from)
	if ranged {
		_, also := number(to) // may be less than from: the span then goes over the end
		fine = fine && also
	}
	return fine
}

// webAddress reports whether a text is the address of a web server.
func webAddress(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
}
