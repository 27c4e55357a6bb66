return { name = "peek", fields = { { config = { type = "record", fields = {} } } } }
