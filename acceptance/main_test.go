package acceptance_test

import (
	"os"
	"testing"

	"sluice.dev/sluice/acceptance/plat"
)

func TestMain(m *testing.M) { os.Exit(plat.Main(m)) }
