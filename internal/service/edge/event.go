package edge

import (
	"context"
	"fmt"
	"time"

	"sluice.dev/sluice/internal/base/store"
)

// Event is something that happened to an agent or a class.
type Event struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	Level   string    `json:"level"` // INFO, WARN or ERROR
	Type    string    `json:"event_type"`
	Class   string    `json:"agent_class"`
	Agent   string    `json:"agent_id,omitempty"`
	Message string    `json:"message"`
}

// event keeps an event. Rows are in the order of hashes, so an event's group holds the hour.
func (s *Service) event(e Event) {
	e.Created = s.deps.Clock.Now().UTC()
	e.ID = fmt.Sprintf("%d-%d", e.Created.UnixNano(), s.eventSeq.Add(1))
	s.deps.Log.Info("edge event", "severity", e.Level, "type", e.Type, "class", e.Class, "agent", e.Agent, "message", e.Message)
	s.writer.event(e)
}

// eventGroup gathers a class's events of one hour.
func eventGroup(class string, at time.Time) string {
	return class + "/" + at.UTC().Format("2006010215")
}

// maxEvents bounds how many events are read at once.
const maxEvents = 5000

// Events lists the events of a class of the last hours, the newest first.
func (s *Service) Events(ctx context.Context, class, agent string, hours, limit int) ([]Event, error) {
	if err := s.may(ctx, View, class); err != nil {
		return nil, err
	}
	if hours < 1 || hours > 24*31 {
		return nil, Invalid.Field("hours", "hours is 1 to %d", 24*31)
	}
	if limit < 1 || limit > maxEvents {
		limit = maxEvents
	}
	out := []Event{}
	now := s.deps.Clock.Now()
	for h := range hours {
		group := eventGroup(class, now.Add(-time.Duration(h)*time.Hour))
		var hour []Event
		after := store.Place{}
		for len(hour) < maxEvents {
			rows, err := s.store.events.Scan(ctx, store.Scan{Group: &group, After: after})
			if err != nil {
				return nil, err
			}
			for _, r := range rows {
				if agent == "" || r.Doc.Agent == agent {
					hour = append(hour, *r.Doc)
				}
				after = r.Place
			}
			if len(rows) < store.MaxScan {
				break
			}
		}
		newestFirst(hour)
		if out = append(out, hour...); len(out) >= limit {
			return out[:limit], nil
		}
	}
	return out, nil
}
