// Package botdetection is Kong's bot-detection plugin: clients whose User-Agent is that of
// a crawler are refused. Anybody can send any User-Agent, so it keeps out only who does not
// mind being kept out.
package botdetection
