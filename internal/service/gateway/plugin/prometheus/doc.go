// Package prometheus is the plugin prometheus: Kong's metrics, by Kong's names, labels and
// buckets.
//
// Words: a series is one combination of labels. The node's metrics are there always; those
// of the traffic are counted where an instance with the flag for them applies.
//
// How it works: the kinds of metric and their series belong to the node and are shared by
// all instances, so that changing a plugin loses no count. A request finds its series in a
// cache by what distinguishes it and adds to it: no label is built, nothing is allocated.
//
// Invariants: there are at most maxSeries combinations; requests beyond are counted in
// kong_nginx_metric_errors_total alone. Series of a route, service or consumer that was
// deleted or renamed are gone with the next scrape.
//
// The package serves no listener: the node's registry collects from it, and the Admin API
// gets GET /metrics by the plugin's own endpoint.
package prometheus
