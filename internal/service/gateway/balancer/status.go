package balancer

import (
	"net/netip"
	"strings"
)

// Status is how an upstream is at a moment.
type Status struct {
	Checked bool // health checks are on
	Healthy bool // requests are taken
	Weight  WeightStatus
	Targets []TargetStatus
}

// WeightStatus is the weight of the addresses, and how much of it takes requests.
type WeightStatus struct{ Total, Available int }

// TargetStatus is how a target is. Without addresses its name could not be resolved.
type TargetStatus struct {
	Target
	DNS       string // the kind of record: A, AAAA or SRV
	Weighs    WeightStatus
	Addresses []AddressStatus
}

// AddressStatus is how an address is.
type AddressStatus struct {
	Addr    netip.AddrPort
	Weight  int
	Healthy bool
}

// Status returns how the upstream is.
func (u *Upstream) Status() Status {
	u.mu.Lock()
	defer u.mu.Unlock()
	t := u.table.Load()
	s := Status{Checked: t.cfg.Checks.On(), Healthy: t.healthy}
	for _, t := range u.targets {
		ts := TargetStatus{Target: t.Target, DNS: "A"}
		for i, a := range t.addresses {
			ts.Addresses = append(ts.Addresses, AddressStatus{a.Addr, a.Weight, a.Healthy()})
			ts.Weighs.Total += a.Weight
			if a.Healthy() {
				ts.Weighs.Available += a.Weight
			}
			switch {
			case t.records[min(i, len(t.records)-1)].Port != 0:
				ts.DNS = "SRV"
			case a.Addr.Addr().Is6():
				ts.DNS = "AAAA"
			}
		}
		s.Weight.Total += ts.Weighs.Total
		s.Weight.Available += ts.Weighs.Available
		s.Targets = append(s.Targets, ts)
	}
	return s
}

// SetHealth makes a target's addresses healthy or unhealthy, or one of them where address,
// an IP address with or without a port, is not empty. It reports whether there was any.
func (u *Upstream) SetHealth(target, address string, up bool) bool {
	var chosen []*Address
	u.mu.Lock()
	for _, t := range u.targets {
		if t.Name != target {
			continue
		}
		for _, a := range t.addresses {
			if address == "" || address == a.Addr.String() || strings.Trim(address, "[]") == a.Addr.Addr().String() {
				chosen = append(chosen, a)
			}
		}
	}
	u.mu.Unlock()
	for _, a := range chosen {
		u.set(a, up)
	}
	return len(chosen) > 0
}
