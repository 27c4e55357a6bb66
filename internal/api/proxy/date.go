package proxy

import (
	"time"
)

// dated is a second with its text.
type dated struct {
	second int64
	text   string
}

// httpDate returns the present time as a Date header has it. The text is made once a second.
func (p *Proxy) httpDate() string {
	now := time.Now()
	if d := p.date.Load(); d != nil && d.second == now.Unix() {
		return d.text
	}
	d := &dated{now.Unix(), now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")}
	p.date.Store(d)
	return d.text
}
