return {
  name = "worker",
  fields = {
    { config = { type = "record", fields = {
      { uri = { type = "string" } },
    } } },
  },
}
