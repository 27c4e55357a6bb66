// Package node assembles the platform: configuration, then the base, the services, the
// fronts, the listeners, in this order, one file per stage. It is the only package that
// imports all others, and it decides nothing: where it would need an if, a service needs a
// field in its Config.
package node
