// Package awssign signs the calls that plugins make of AWS: version 4, with a configured key
// or that of the process's environment.
//
// It asks none of the metadata services of EC2 and ECS, and no roles.
package awssign
