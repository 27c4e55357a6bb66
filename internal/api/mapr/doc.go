// Package mapr answers the verbs of maprcli, as its REST API does: GET /rest/node/list with
// the flags as parameters, and an envelope of status, total and data around the rows.
//
// One table of verbs is behind the REST API and the command line: sluice maprcli asks the
// REST API and prints what it answers, as a table or as JSON. What a verb means is described
// in the documentation of HPE Ezmeral Data Fabric, "maprcli and REST API syntax".
package mapr
