// Package awslambda is the plugin aws-lambda: a request becomes an event, a function of AWS
// Lambda is invoked with it, and what the function returns is the answer.
//
// Words: the event is the JSON the function gets: by default the query's and the body's
// arguments; with the fields forward_request_… parts of the request; with
// awsgateway_compatible what Amazon API Gateway would send. With is_proxy_integration the
// function tells the status, the headers and the body, as it does to API Gateway.
//
// Calls are signed with the configured key or that of the process's environment, or with the
// temporary credentials of a role that is assumed with it (STS). Secrets and the answers of
// AWS's errors go into no answer of ours.
package awslambda
