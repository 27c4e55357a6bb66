package engine

import "time"

// NextCron is the first time of a schedule after t.
func NextCron(s string, t time.Time) (time.Time, error) {
	c, err := parseCron(s)
	if err != nil {
		return time.Time{}, err
	}
	return c.next(t), nil
}
