// Package sts is the front of the Security Token Service.
package sts
