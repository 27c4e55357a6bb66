package kms

//go:generate go run ../awsgen -service kms
