// Package kms is the front of the Key Management Service.
package kms
