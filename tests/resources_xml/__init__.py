"""tests.resources_xml"""
