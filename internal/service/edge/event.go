package edge

import (
	"context"
	"fmt"
	"time"

	"sluice.dev/sluice/internal/base/caller"
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
	User    string    `json:"user,omitempty"` // the ARN of who did it; empty for what happened by itself
	Message string    `json:"message"`
}

// event keeps an event. Rows are in the order of hashes, so an event's group holds the hour.
func (s *Service) event(e Event) {
	e.Created = s.deps.Clock.Now().UTC()
	e.ID = fmt.Sprintf("%d-%d", e.Created.UnixNano(), s.eventSeq.Add(1))
	s.deps.Log.Info("edge event", "severity", e.Level, "type", e.Type, "class", e.Class, "agent", e.Agent, "message", e.Message)
	s.writer.event(e)
}

// everywhere is the class of events that are about no class alone.
const everywhere = "*"

// eventWait is how long a change waits for its event to be in the database.
const eventWait = 5 * time.Second

// changed keeps an event of what the caller has changed. It is in the database, for every node,
// when changed returns; if that cannot be reached, it follows.
func (s *Service) changed(ctx context.Context, class, agent, what, format string, args ...any) {
	who, _ := caller.From(ctx)
	s.event(Event{Level: "INFO", Class: class, Agent: agent, User: who.ARN, Type: what, Message: fmt.Sprintf(format, args...)})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), eventWait)
	defer cancel()
	if err := s.written(ctx); err != nil {
		s.deps.Log.Warn("the event of a change is not written yet", "type", what, "error", err)
	}
}

// eventGroup gathers a class's events of one hour.
func eventGroup(class string, at time.Time) string {
	return class + "/" + at.UTC().Format("2006010215")
}

// maxEvents bounds how many events are read at once.
const maxEvents = 5000

// Events lists the events of a class of the last hours, from all nodes, the newest first; those
// of class "*" are about resources, which belong to none.
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
