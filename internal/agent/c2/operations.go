package c2

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"

	"sluice.dev/sluice/internal/agent/engine"
	agentstate "sluice.dev/sluice/internal/agent/state"
)

// do does an operation and says in a how it went. What it returns is done after the
// acknowledgement is kept.
func (c *Client) do(ctx context.Context, o *operation, a *ack) (then func()) {
	switch what := strings.ToUpper(o.Operation) + " " + strings.ToLower(o.Operand); what {
	case "UPDATE configuration":
		a.State = c.updateFlow(ctx, o)
	case "UPDATE asset":
		a.State = c.updateAsset(ctx, o)
	case "UPDATE properties":
		a.State = c.updateProperties(o)
	case "DESCRIBE manifest":
		a.Device, a.Agent, a.Flow, a.Resource = device(), c.agent(true), c.flow(), c.resource()
		a.State = state{State: fullyApplied}
	case "START flow", "RESUME flow", "RESUME ":
		a.State = applied(c.d.Engine.Start(ctx))
	case "STOP flow", "PAUSE flow", "PAUSE ":
		c.d.Engine.Stop()
		a.State = state{State: fullyApplied}
	case "START processor":
		a.State = applied(c.d.Engine.StartProcessor(ctx, o.arg("processorId")))
	case "STOP processor":
		a.State = applied(c.d.Engine.StopProcessor(o.arg("processorId")))
	case "CLEAR connection":
		a.State = c.clear(o)
	case "TRANSFER debug":
		a.State = c.transfer(ctx, o)
	case "SYNC resource":
		a.State = c.sync(ctx, o)
	case "RESTART agent", "RESTART ":
		a.State = state{State: fullyApplied}
		return c.d.Restart
	default:
		a.State = stateOf(notUnderstood, "the agent has no operation %.100s %.100s", o.Operation, o.Operand)
	}
	return nil
}

func applied(err error) state {
	if err != nil {
		return stateOf(notApplied, "%v", err)
	}
	return state{State: fullyApplied}
}

// updateFlow fetches a flow and runs it in the place of the one that runs.
func (c *Client) updateFlow(ctx context.Context, o *operation) state {
	relative, absolute := o.arg("relativeFlowUrl"), o.arg("location", "flowUrl")
	id := o.arg("flowId")
	if id == "" {
		id = idOf(absolute + relative)
	}
	if id == "" || len(id) > 200 {
		return stateOf(notApplied, "the operation has no flowId")
	}
	c.mu.Lock()
	same := id == c.flowID
	c.mu.Unlock()
	if same {
		return stateOf(noOperation, "the flow %s runs already", id)
	}
	var raw []byte
	err := c.net.fetch(ctx, relative, absolute, engine.MaxFlow, callTimeout, func(r io.Reader) (err error) {
		raw, err = io.ReadAll(r)
		return err
	})
	if err != nil {
		return stateOf(notApplied, "the flow cannot be fetched: %v", err)
	}
	flow, err := engine.ParseFlow(raw)
	if err == nil {
		err = c.d.Engine.Apply(ctx, flow)
	}
	if err != nil {
		return stateOf(notApplied, "%v", err)
	}
	c.mu.Lock()
	c.flowID = id
	c.mu.Unlock()
	if err := c.d.State.SetFlow(agentstate.Applied{ID: id, Flow: raw}); err != nil {
		return stateOf(partiallyApplied, "the flow runs, but is not kept: %v", err)
	}
	c.log.Info("a flow was applied", "flow_id", id)
	return state{State: fullyApplied}
}

// idOf is the flow's id in a URL of the form …/flows/{id}….
func idOf(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	parts := strings.Split(path.Clean(u.Path), "/")
	if i := slices.Index(parts, "flows"); i >= 0 && i+1 < len(parts) {
		return parts[i+1]
	}
	return ""
}

// updateProperties changes settings of the agent, all that are named or none.
func (c *Client) updateProperties(o *operation) state {
	c.mu.Lock()
	next := maps.Clone(c.props)
	c.mu.Unlock()
	for name := range o.Args {
		v := o.arg(name)
		var persisted struct { // the form that C++ agents take
			Value string `json:"value"`
		}
		if json.Unmarshal(o.Args[name], &persisted) == nil && persisted.Value != "" {
			v = persisted.Value
		}
		if err := checkProperty(name, v); err != nil {
			return stateOf(notApplied, "%v", err)
		}
		next[name] = v
	}
	if len(o.Args) == 0 {
		return stateOf(noOperation, "no property is named")
	}
	if err := c.d.State.SetProperties(next); err != nil {
		return stateOf(notApplied, "the properties cannot be kept: %v", err)
	}
	c.mu.Lock()
	c.props = next
	c.mu.Unlock()
	c.setLevel()
	return state{State: fullyApplied}
}

func checkProperty(name, v string) error {
	switch name {
	case propPeriod:
		if ms, err := strconv.Atoi(v); err != nil || ms < 100 || ms > 24*3600*1000 {
			return fmt.Errorf("%s is %q, not a number of milliseconds from 100 to a day", name, v)
		}
	case propFull:
		if v != "true" && v != "false" {
			return fmt.Errorf("%s is %q, not true or false", name, v)
		}
	case propCompress:
		if v != "none" && v != "gzip" {
			return fmt.Errorf("%s is %q, not none or gzip", name, v)
		}
	case propLevel:
		var l slog.Level
		if l.UnmarshalText([]byte(v)) != nil {
			return fmt.Errorf("%s is %q, not DEBUG, INFO, WARN or ERROR", name, v)
		}
	default:
		return fmt.Errorf("the agent has no property %.100q", name)
	}
	return nil
}

func (c *Client) setLevel() {
	var l slog.Level
	if l.UnmarshalText([]byte(c.property(propLevel))) == nil {
		c.d.Level.Set(l)
	}
}

// clear drops what waits on connections, given as any names with their ids.
func (c *Client) clear(o *operation) state {
	var cleared, failed []string
	for _, name := range slices.Sorted(maps.Keys(o.Args)) {
		n, err := c.d.Engine.Clear(o.arg(name))
		if err != nil {
			failed = append(failed, err.Error())
			continue
		}
		cleared = append(cleared, fmt.Sprintf("%s: %d", o.arg(name), n))
	}
	switch {
	case len(failed) == 0 && len(cleared) == 0:
		return stateOf(notApplied, "no connection is named")
	case len(failed) == 0:
		return stateOf(fullyApplied, "dropped flow files: %s", strings.Join(cleared, ", "))
	case len(cleared) == 0:
		return stateOf(notApplied, "%s", strings.Join(failed, "; "))
	}
	return stateOf(partiallyApplied, "%s; dropped flow files: %s", strings.Join(failed, "; "), strings.Join(cleared, ", "))
}
