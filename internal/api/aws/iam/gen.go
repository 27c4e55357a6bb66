package iam

//go:generate go run ../awsgen -service iam
