package awswire_test

import (
	"reflect"
	"time"
)

var timeType = reflect.TypeFor[time.Time]()
