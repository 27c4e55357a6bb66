// Package iam is the front of Identity and Access Management.
package iam
