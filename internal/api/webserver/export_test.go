package webserver

import "time"

// Pace is the deadlines that steps at the given times since the first would set, each
// after as many bytes.
func Pace(at []time.Duration, rate Rate, bytes []int64) (deadlines []time.Duration) {
	began := time.Unix(1000, 0)
	p := &pace{rate: rate, set: func(d time.Time) error {
		deadlines = append(deadlines, d.Sub(began))
		return nil
	}}
	for i := range at {
		p.bytes = bytes[i]
		p.next(began.Add(at[i]))
	}
	return deadlines
}
